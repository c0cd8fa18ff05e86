"""The truth the project is held to: float64, slow, obvious, NumPy only.

Nothing here looks at ``src/gpublur``. The numbers in parentheses are those of section 3 of the design. A picture is
display-referred in [0, 1], shaped (H, W), (H, W, 3) or (H, W, 4); *light* is its colour in the space of the blur,
always (H, W, C) with C = 1 or 3; a matte ``alpha`` is (H, W), 1 on the subject.

The defaults are not the product's: a test that compares names every parameter.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

EDGE = 0.03  # the matte above which a pixel counts as mixed with the subject
SLACK = 1e-3  # of light, in which the bounds of the subject's colour are not strict
SOLID = 0.05  # how far below 1 the matte of a pixel may be that tells the subject's colour
TAU = 1 / 32  # the blurred weight below which the background is filled from its field
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709


# --- Light (2) ---


def decode(v: ArrayLike) -> Array:
    """Display values to linear light: the sRGB EOTF."""
    v = np.asarray(v, np.float64)
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encode(x: ArrayLike) -> Array:
    """Linear light, clipped to [0, 1], to display values: the inverse of `decode`."""
    x = np.clip(np.asarray(x, np.float64), 0, 1)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def to_light(display: Array, linear_light: bool) -> Array:
    """Display values in the space of the blur."""
    return decode(display) if linear_light else np.asarray(display, np.float64)


def to_display(light: Array, linear_light: bool) -> Array:
    """Light in the space of the blur as display values in [0, 1]."""
    return encode(light) if linear_light else np.clip(light, 0, 1)


def split(image: ArrayLike) -> tuple[Array, Array]:
    """A picture as its colour (H, W, 1 or 3) and its coverage (H, W): the own alpha channel, 1 without one."""
    image = np.asarray(image, np.float64)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(f"a picture is (H, W), (H, W, 3) or (H, W, 4), not {image.shape}")
    if image.shape[2] == 4:
        return image[..., :3], image[..., 3]
    return image, np.ones(image.shape[:2])


def join(colour: Array, image: ArrayLike) -> Array:
    """A colour (H, W, 1 or 3) in the shape of ``image``, whose own alpha channel is kept."""
    image = np.asarray(image, np.float64)
    if image.ndim == 3 and image.shape[2] == 4:
        return np.concatenate([colour, image[..., 3:]], axis=2)
    return colour.reshape(image.shape)


# --- Kernels (1) ---


def radius_in_pixels(radius: float, shape: tuple[int, ...]) -> float:
    """A fraction of the diagonal of an (H, W, ...) picture, in pixels."""
    return radius * float(np.hypot(*shape[:2]))


def disk_area(r: float) -> Array:
    """The area of each pixel's unit square under a disk of radius ``r`` centred on the centre pixel.

    Exact: the area of the disk over [0, x] x [0, y] has a closed form, and a square is four of these. Shaped
    (2n+1, 2n+1), the smallest odd square that holds the disk; the sum is pi r^2.
    """
    n = max(0, int(np.ceil(r - 0.5)))
    k = np.arange(n + 1, dtype=np.float64)  # one quadrant; the others are its mirrors
    lo, hi = np.maximum(k - 0.5, 0), k + 0.5

    def corner(x: Array, y: Array) -> Array:
        """Area of the disk over [0, x] x [0, y]: the integral over t in [0, x] of min(y, sqrt(r^2 - t^2))."""
        x, y = np.minimum(x, r), np.minimum(y, r)
        meet = np.minimum(x, np.sqrt(r * r - y * y))  # to here the square is the lower one, from here the disk

        def under(t: Array) -> Array:
            return 0.5 * (t * np.sqrt(r * r - t * t) + r * r * np.arcsin(t / r))

        return y * meet + under(x) - under(meet)

    if r <= 0:
        return np.zeros((1, 1))
    y, x = (lo[:, None], hi[:, None]), (lo[None], hi[None])
    quadrant = corner(x[1], y[1]) - corner(x[0], y[1]) - corner(x[1], y[0]) + corner(x[0], y[0])
    quadrant[0] *= 2  # the axes run through the middle of their pixels
    quadrant[:, 0] *= 2
    half = np.concatenate([quadrant[:0:-1], quadrant])
    return np.clip(np.concatenate([half[:, :0:-1], half], axis=1), 0, 1)


def disk_kernel(r: float) -> Array:
    """The anti-aliased disk of radius ``r`` pixels, normalised; below half a pixel the single 1."""
    if r < 0.5:
        return np.ones((1, 1))
    area = disk_area(r)
    return area / area.sum()


def gaussian_kernel(sigma: float) -> Array:
    """Samples of the gaussian out to 6 sigma, normalised, to be used along both axes; for tiny sigma the single 1."""
    if sigma < 0.02:  # the neighbour would weigh exp(-1250), which is 0
        return np.ones(1)
    n = int(np.ceil(6 * sigma))
    taps = np.exp(-0.5 * (np.arange(-n, n + 1) / sigma) ** 2)
    return taps / taps.sum()


def kernel_of(mode: str, r: float) -> Array:
    """The kernel of a blur of ``r`` pixels: 1-D for ``gaussian`` (sigma = r), 2-D for ``bokeh``."""
    return {"gaussian": gaussian_kernel, "bokeh": disk_kernel}[mode](r)


def convolve(planes: Array, kernel: Array, method: str = "auto") -> Array:
    """Convolve (H, W, C) planes with an odd kernel, zero outside the frame.

    Parameters
    ----------
    planes : (H, W, C)
    kernel : 1-D, applied along both axes, or 2-D
    method : ``direct`` sums shifted copies, ``fft`` multiplies spectra, ``auto`` takes ``fft`` for large 2-D kernels
    """
    if kernel.ndim == 1:
        return convolve(convolve(planes, kernel[:, None], "direct"), kernel[None], "direct")
    (h, w, _), (kh, kw) = planes.shape, kernel.shape
    if method == "fft" or (method == "auto" and kernel.size > 49):
        size = (h + kh - 1, w + kw - 1)
        spectrum = np.fft.rfft2(planes, size, axes=(0, 1)) * np.fft.rfft2(kernel, size)[..., None]
        full = np.fft.irfft2(spectrum, size, axes=(0, 1))
        return full[kh // 2 :, kw // 2 :][:h, :w]
    padded = np.pad(planes, ((kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    out = np.zeros(planes.shape)
    for i, j in np.ndindex(kernel.shape):
        out += kernel[kh - 1 - i, kw - 1 - j] * padded[i : i + h, j : j + w]
    return out


# --- One weight for everything (3) ---


def brightness(light: Array) -> Array:
    """(3)'s brightness (H, W) of light (H, W, 3), where a clipped channel counts too; grey (H, W, 1) is its own."""
    return np.maximum(luminance(light), light.max(2) ** 8)


def luminance(light: Array) -> Array:
    """Rec. 709 luminance (H, W) of light (H, W, 3); grey light (H, W, 1) is its own."""
    return light @ LUMINANCE if light.shape[2] == 3 else light[..., 0]


def boost(bright: Array, highlights: float, threshold: tuple[float, float]) -> Array:
    """How much more a highlight weighs: 1 up to ``lo``, 2^(10 highlights) from ``hi`` on."""
    lo, hi = threshold
    return 2 ** (10 * highlights * np.clip((bright - lo) / (hi - lo), 0, 1))


def background_weight(alpha: ArrayLike) -> Array:
    """1 where there is no subject, falling to 0 where the matte reaches EDGE."""
    return np.maximum(0, 1 - np.asarray(alpha, np.float64) / EDGE)


def weight(
    light: Array,
    alpha: ArrayLike,
    highlights: float = 0,
    threshold: tuple[float, float] = (0, 1),
    coverage: ArrayLike = 1,
) -> Array:
    """The weight (H, W) of each pixel in the blur of the background."""
    return background_weight(alpha) * boost(brightness(light), highlights, threshold) * coverage


def normalised_blur(light: Array, w: Array, kernel: Array) -> tuple[Array, Array]:
    """Numerator (H, W, C) and denominator (H, W) of the weighted blur."""
    blurred = convolve(np.concatenate([w[..., None] * light, w[..., None]], axis=2), kernel)
    return blurred[..., :-1], blurred[..., -1]


def fill(numerator: Array, denominator: Array, back: Array, coverage: ArrayLike = 1) -> Array:
    """The blurred background, from the field ``back`` where the blurred weight vanishes beside the pixel's own."""
    d, tau = denominator[..., None], TAU * np.maximum(np.atleast_2d(coverage), 1 / 255)[..., None]
    return (numerator + np.maximum(tau - d, 0) * back) / np.maximum(d, tau)


# --- Colour fields: push-pull on a coarse grid (3, 5) ---


def even(photos: ArrayLike) -> Array:
    """Photos (..., 3, h, w) for a network: divided by the brightest value but for 2 in 1000 pixels, by 50 at most."""
    photos = np.asarray(photos, np.float64)
    peaks = np.sort(photos[..., ::4, ::4].max(-3).reshape(*photos.shape[:-3], -1))
    white = peaks[..., int(0.998 * (peaks.shape[-1] - 1))].clip(0.02, 1)
    return (photos / white[..., None, None, None]).clip(0, 1)


def interpolate(grid: Array, y: Array, x: Array) -> Array:
    """Bilinear values of ``grid`` (h, w, ...) at rows ``y`` and columns ``x``, clamped at the edges."""
    for axis, coordinate in enumerate((y, x)):
        last = grid.shape[axis] - 1
        at = np.clip(coordinate, 0, last)
        lower = np.floor(at).astype(int)
        t = (at - lower).reshape([-1 if a == axis else 1 for a in range(grid.ndim)])
        grid = (1 - t) * grid.take(lower, axis) + t * grid.take(np.minimum(lower + 1, last), axis)
    return grid


def block_mean(a: Array, n: int) -> Array:
    """Means over n x n blocks; the last of an axis is as large as what remains."""
    h, w, _ = a.shape
    rows = [[a[y : y + n, x : x + n].mean(axis=(0, 1)) for x in range(0, w, n)] for y in range(0, h, n)]
    return np.array(rows)


def push_pull(colour: Array, w: Array) -> Array:
    """The colour of each 4 x 4 cell of samples, from coarser levels where a cell weighs too little.

    Parameters
    ----------
    colour : (gh, gw, C), the samples
    w : (gh, gw), their weights
    """
    level = block_mean(np.concatenate([w[..., None] * colour, w[..., None]], axis=2), 4)
    levels = [level]
    while max(level.shape[:2]) > 1:
        level = block_mean(level, 2)
        levels.append(level)
    top = levels.pop()
    field = top[..., :-1] / top[..., -1:] if top[0, 0, -1] > 0 else colour.mean(axis=(0, 1), keepdims=True)
    for level in reversed(levels):
        y, x = ((np.arange(n) + 0.5) / 2 - 0.5 for n in level.shape[:2])
        wt = level[..., -1:]
        field = (level[..., :-1] + np.maximum(1 / 4 - wt, 0) * interpolate(field, y, x)) / np.maximum(wt, 1 / 4)
    return field


def fields(light: Array, alpha: Array, w0: Array, coverage: ArrayLike = 1) -> tuple[Array, Array]:
    """Smooth colours (H, W, C) of the subject and of the background, defined everywhere.

    Parameters
    ----------
    light : (H, W, C)
    alpha : (H, W), the matte
    w0 : (H, W), the weight of the background without boost
    coverage : (H, W), the picture's own alpha channel

    Returns
    -------
    fore, back
    """
    h, w = light.shape[:2]
    s = -(-max(h, w) // 512)
    first = [min(s // 2, n // 2) for n in (h, w)]
    sampled = np.ix_(*(range(o, n, s) for o, n in zip(first, (h, w), strict=True)))
    y, x = (((np.arange(n) - o) / s + 0.5) / 4 - 0.5 for o, n in zip(first, (h, w), strict=True))
    solid = np.maximum(0, 1 - (1 - alpha) / SOLID) + 1e-3 * alpha**4
    fore, back = (push_pull(light[sampled], wt[sampled]) for wt in (solid * coverage, w0))
    return interpolate(fore, y, x), interpolate(back, y, x)


def foreground(light: Array, alpha: Array, fore: Array, back: Array) -> Array:
    """The subject's own colour (5): blur-fusion, within what a background in [0, 1] leaves of the light."""
    a = np.maximum(alpha[..., None], 1e-20)
    fused = fore + a * (light - a * fore - (1 - a) * back)
    return np.clip(fused.clip((light - SLACK - (1 - a)) / a, (light + SLACK) / a), 0, 1)


# --- The effects ---


def blur_background(
    image: ArrayLike,
    alpha: ArrayLike,
    mode: str,
    radius: float,
    highlights: float = 0,
    threshold: tuple[float, float] = (0, 1),
    linear_light: bool = True,
) -> Array:
    """Blur what lies behind the subject: display values in, display values of the same shape out."""
    alpha = np.asarray(alpha, np.float64)
    display, coverage = split(image)
    light = to_light(display, linear_light)
    kernel = kernel_of(mode, radius_in_pixels(radius, display.shape))
    fore, back = fields(light, alpha, background_weight(alpha) * coverage, coverage)
    blurred = fill(
        *normalised_blur(light, weight(light, alpha, highlights, threshold, coverage), kernel), back, coverage
    )
    a = alpha[..., None]
    out = to_display(a * foreground(light, alpha, fore, back) + (1 - a) * blurred, linear_light)
    return join(np.where(a == 1, display, out), image)


def blur(
    image: ArrayLike,
    mode: str,
    radius: float,
    highlights: float = 0,
    threshold: tuple[float, float] = (0, 1),
    linear_light: bool = True,
) -> Array:
    """The bare filter, without a matte. The alpha channel is kept; where no weight reaches, so is the colour."""
    display, coverage = split(image)
    light = to_light(display, linear_light)
    kernel = kernel_of(mode, radius_in_pixels(radius, display.shape))
    numerator, denominator = normalised_blur(light, weight(light, 0, highlights, threshold, coverage), kernel)
    d = denominator[..., None]
    blurred = np.divide(numerator, d, out=light.copy(), where=d > 1e-9)  # below is the rounding of the FFT
    return join(to_display(blurred, linear_light), image)


def remove_background(image: ArrayLike, alpha: ArrayLike) -> Array:
    """The subject alone, (H, W, 4): its own colour, straight alpha."""
    alpha = np.asarray(alpha, np.float64)
    display, coverage = split(image)
    light = decode(display)
    fore, back = fields(light, alpha, background_weight(alpha) * coverage, coverage)
    colour = np.where(alpha[..., None] == 1, display, encode(foreground(light, alpha, fore, back)))
    colour = np.broadcast_to(colour, (*alpha.shape, 3))
    return np.concatenate([colour, (alpha * coverage)[..., None]], axis=2)


# --- The matte (4) ---


def resample(mask: ArrayLike, shape: tuple[int, int]) -> Array:
    """A mask (h, w) at another size (H, W): bilinear, centres aligned, clamped at the edges."""
    mask = np.asarray(mask, np.float64)
    y, x = ((np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(mask.shape, shape, strict=True))
    return interpolate(mask, y, x)


def window_mean(planes: Array, r: int) -> Array:
    """Mean over the (2r+1)^2 window of each pixel, of those that exist."""
    ones = np.ones(2 * r + 1)
    return convolve(planes, ones) / convolve(np.ones((*planes.shape[:2], 1)), ones)


def trust(p: Array, around: Array) -> Array:
    """How much a sample counts: 1 where the mask and its surroundings agree on a side, 0.05 at the mask's own edge."""
    return 0.05 + 0.95 * np.maximum(0, (2 * p - 1) * (2 * around - 1))


def window_fits(
    guide: Array, p: Array, w: Array, r: int = 7, eps: float = 2e-3, explained: float = 0.6
) -> tuple[Array, Array, Array]:
    """For the window of each pixel the line a . I + b that fits p, by weighted ridge regression.

    Parameters
    ----------
    guide : (H, W, 3), display values
    p : (H, W), the mask to refine
    w : (H, W), the weights
    r : the windows are (2r+1)^2
    eps : how much variance of the guide counts as flat
    explained : a fit is stretched by the share of p's variance that it explains, which is taken to be this at least

    Returns
    -------
    a (H, W, 3), b (H, W), and the variance of p (H, W) that the fit did not explain
    """

    def mean(planes: Array) -> Array:
        return window_mean(planes * w[..., None], r) / window_mean(w[..., None], r)

    p = p[..., None]
    mean_i, mean_p = mean(guide), mean(p)
    outer = (guide[..., :, None] * guide[..., None, :]).reshape(*guide.shape[:2], 9)
    variance = mean(outer).reshape(*guide.shape, 3) - mean_i[..., :, None] * mean_i[..., None, :]
    covariance = mean(guide * p) - mean_i * mean_p
    variance_p = (mean(p * p) - mean_p**2)[..., 0]
    a = np.linalg.solve(variance + eps * np.eye(3), covariance[..., None])[..., 0]
    told = np.sum(a * covariance, axis=2)
    share = told / np.maximum(variance_p, 1e-12)
    a = np.where(variance_p > 1e-6, 1 / np.maximum(share, explained), 0)[..., None] * a
    return a, mean_p[..., 0] - np.sum(a * mean_i, axis=2), np.maximum(variance_p - told, 0)


def coefficients(guide: Array, p: Array, around: Array) -> Array:
    """(H, W, 4): the mean of the windows' fits, those that explain the mask before others, stretched; solid held."""
    a, b, left = window_fits(guide, p, trust(p, around))
    weight = 1 / (left + 0.01)[..., None]
    c = window_mean(np.concatenate([a, b[..., None]], axis=2) * weight, 4) / window_mean(weight, 4)
    c = (c - [0, 0, 0, 0.15]) / 0.7
    solid = np.clip((around - 0.7) / 0.25, 0, 1)[..., None]
    return solid * [0, 0, 0, 1] + (1 - solid) * c


def refine(image: ArrayLike, mask: ArrayLike) -> Array:
    """A coarse mask (h, w) of any size fitted to the photo: alpha (H, W) in [0, 1]."""
    image, mask = split(image)[0], np.asarray(mask, np.float64)
    image = np.broadcast_to(image, (*image.shape[:2], 3))
    size = image.shape[:2]
    s = -(-max(size) // 512)
    first = [min(s // 2, n // 2) for n in size]
    at = [np.arange(o, n, s) for o, n in zip(first, size, strict=True)]

    def sampled(dy: int, dx: int) -> Array:  # the mask so many samples away
        y, x = ((k + d * s + 0.5) * m / n - 0.5 for k, d, m, n in zip(at, (dy, dx), mask.shape, size, strict=True))
        return interpolate(mask, y, x)

    around = sum(sampled(*d) for d in [(0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)]) / 5
    c = coefficients(image[np.ix_(*at)], sampled(0, 0), around)
    y, x = ((np.arange(n) - o) / s for n, o in zip(size, first, strict=True))
    c = interpolate(c, y, x)
    return np.clip(np.sum(c[..., :3] * image, axis=2) + c[..., 3], 0, 1)


# --- 8 bits (8) ---


def wave(height: int, width: int) -> Array:
    """(8): the triangle wave (H, W) in [-1, 1] over the R2 lattice, whose steps are 1 / g and 1 / g^2, g^3 = g + 1."""
    g = 1.32471795724474602596
    row, column = round(2**32 / g**2), round(2**32 / g)
    steps = (np.arange(height)[:, None] * row + np.arange(width) * column) % 2**32 / 2**32
    return 1 - 2 * np.abs(1 - 2 * steps)


def to_bytes(display: Array, dither: bool = True) -> NDArray[np.uint8]:
    """Round display values (H, W, C) to 8 bits; dithered by up to 0.48 of one."""
    noise = 0.48 * wave(*display.shape[:2])[..., None] if dither else 0
    return np.floor(255 * display + 0.5 + noise).clip(0, 255).astype(np.uint8)


# --- Measures ---


def max_lsb(a: ArrayLike, b: ArrayLike) -> float:
    """The largest difference of two pictures of display values, in units of 1/255."""
    return 255 * float(np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))))


def psnr(a: ArrayLike, b: ArrayLike) -> float:
    """Peak signal to noise ratio of two pictures of display values in [0, 1], in dB."""
    mse = float(np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2))
    return float("inf") if mse == 0 else -10 * float(np.log10(mse))
