"""The page at / in a browser without a window, on a desk and on a phone."""

import base64
import shutil
import threading

import numpy as np
import pytest
from conftest import PATIENCE, find_ellipse, until
from PIL import Image
from serving import HEIGHT, PNG, WIDTH, encoded, opened, running

from gpublur.demo import PHOTO

httpx = pytest.importorskip("httpx")
webdriver = pytest.importorskip("selenium.webdriver")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
TAB, RIGHT, HOME, END = "\ue004", "\ue014", "\ue011", "\ue010"  # keys, in WebDriver's words

COMMON = """
const shown = e => e.checkVisibility({visibilityProperty: true});
const numbers = color => {
  const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
  pen.fillStyle = color;
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
};
"""
# Every text that is shown, by its contrast with the nearest opaque background below it (WCAG 2.2, 1.4.3).
CONTRAST = (
    COMMON
    + """
const light = color => {
  const [r, g, b] = numbers(color).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = e => {
  const color = getComputedStyle(e).backgroundColor, alpha = numbers(color)[3];
  return alpha === 255 || !e.parentElement ? color : behind(e.parentElement);
};
const contrast = (text, e) => {
  const [low, high] = [light(text), light(behind(e))].sort((a, b) => a - b);
  return (high + .05) / (low + .05);
};
const texts = [...document.querySelectorAll("body *")].filter(e => shown(e) && !e.matches("script, input:disabled")
  && !e.querySelector(":scope > :disabled")
  && [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()));
const fields = [...document.querySelectorAll("input[type=text], input[type=password]")].filter(shown);
return [...texts.map(e => [e.textContent.trim(), contrast(getComputedStyle(e).color, e)]),
  ...fields.map(e => [e.id, contrast(getComputedStyle(e).color, e)]),
  ...fields.map(e => [e.id + "'s placeholder", contrast(getComputedStyle(e, "::placeholder").color, e)])];
"""
)
UNNAMED = ("none", "presentation")  # pictures beside their own words
CONTROLS = "input:not([hidden]), button, a, img, canvas, form, section, fieldset"
UNLABELLED = """
return [...document.querySelectorAll("input")].filter(e => shown(e) && !e.labels.length && !e.ariaLabel).map(e => e.id);
"""  # a placeholder is a name, but no label
# What the element in focus shows of it: its own outline, its label's, or that of the line on the slider.
RING = """
const e = document.activeElement, line = e.nextElementSibling;
const own = getComputedStyle(e);
const styles = [own.opacity > 0 && own, e.closest(".choice label") && getComputedStyle(e.closest("label")),
  line?.id === "line" && getComputedStyle(line, "::after")].filter(Boolean);
return styles.some(s => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2);
"""
PIXELS = """
const e = document.getElementById(arguments[0]), canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [e.naturalWidth ?? e.width, e.naturalHeight ?? e.height];
canvas.getContext("2d").drawImage(e, 0, 0);
return canvas.toDataURL().split(",")[1];
"""
HAND_OVER = """
const [kind, bytes, name, type, count] = arguments, given = new DataTransfer();
for (let i = 0; i < count; i++) given.items.add(new File([Uint8Array.from(bytes)], name, {type}));
const options = {bubbles: true, cancelable: true};
document.body.dispatchEvent(kind === "drop" ? new DragEvent("drop", {dataTransfer: given, ...options})
  : new ClipboardEvent("paste", {clipboardData: given, ...options}));
"""


class Page:
    """The page, and what a person does with it."""

    def __init__(self, browser):
        self.browser, self.script = browser, browser.execute_script

    def open(self, url, size="desk", scheme="light"):
        width, height = SIZES[size]
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.browser.get(url)

    def __getitem__(self, name):
        return self.browser.find_element("id", name)

    def choose(self, data, name, tmp_path):
        path = tmp_path / name
        path.write_bytes(data)
        self["file"].send_keys(str(path))

    def hand_over(self, kind, data, name="photo.png", media_type="image/png", count=1):
        self.script(HAND_OVER, kind, list(data), name, media_type, count)

    def pick(self, value):
        self.browser.find_element("css selector", f"#options label:has([value={value}])").click()

    def change(self, name, value, event="input"):
        script = "const e = document.querySelector(`#options [name=${arguments[0]}]`); e.value = arguments[1];"
        self.script(script + "e.dispatchEvent(new Event(arguments[2], {bubbles: true}))", name, value, event)

    def result(self, other_than=None):
        """The address of the result, when a new one is there."""

        def there():
            address = self["download"].get_attribute("href")
            return self["said"].text.startswith("Done") and address != other_than and address

        return until(there)

    def error(self):
        return until(lambda: self["why"].text)

    def pixels(self, name):
        return np.asarray(opened(base64.b64decode(self.script(PIXELS, name))).convert("RGBA")).astype(int)

    def log(self):
        return [line["message"] for line in self.browser.get_log("browser") if line["level"] != "INFO"]

    def split(self):
        """Where the line is, as a share of the picture's width."""
        box, line = (
            self.script("return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()", name)
            for name in ("compare", "line")
        )
        return (line["x"] + line["width"] / 2 - box["x"]) / box["width"]


@pytest.fixture
def page(tmp_path):
    if BROWSER is None or DRIVER is None:
        pytest.skip("no chromium with its chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    browser.set_page_load_timeout(PATIENCE)
    yield Page(browser)
    browser.quit()


@pytest.fixture(scope="module")
def url():
    with running() as url:
        yield url


def test_photo_to_download(page, url, tmp_path):
    jpeg = encoded("JPEG")
    page.open(url)
    page.choose(jpeg, "holiday.2.jpg", tmp_path)
    blurred = page.result()
    assert page.pixels("before").shape == page.pixels("after").shape == (HEIGHT, WIDTH, 4)
    page["download"].click()
    saved = until(lambda: list((tmp_path / "downloads").glob("*.jpg")))
    assert [path.name for path in saved] == ["holiday.2-blurred.jpg"]
    assert opened(saved[0].read_bytes()).size == (WIDTH, HEIGHT)

    before = page.pixels("after")
    page.change("radius", "5")
    wide = page.result(blurred)
    assert page["shown"].text == "5.0 % of the diagonal, 4 px"
    assert np.abs(page.pixels("after") - before).max() > 20
    page.pick("gaussian")
    gaussian = page.result(wide)

    page.pick("remove")
    cut = page.result(gaussian)
    assert page["download"].get_attribute("download") == "holiday.2-cutout.png"
    alpha = page.pixels("after")[..., 3]
    assert alpha.min() == 0
    assert alpha.max() == 255
    page.change("color", "#ff0000")
    page.result(cut)
    assert page["download"].get_attribute("download") == "holiday.2-cutout.jpg"
    assert np.abs(page.pixels("after")[0, 0] - (255, 0, 0, 255)).max() < 4
    assert page.log() == []
    asked = page.script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert any(address.endswith("/v2/edit") for address in asked)
    assert [address for address in asked if not address.startswith((url, "blob:", "data:"))] == []


def test_headers(url):
    page, example = httpx.get(url), httpx.get(url + "/example.jpg")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy + page.text.replace("http://www.w3.org/2000/svg", "")  # nothing from elsewhere
    assert example.content == PHOTO.read_bytes()
    assert example.headers["content-type"] == "image/jpeg"
    assert "max-age" in example.headers["cache-control"]


def test_a_format_that_browsers_do_not_show(page, url, tmp_path):
    page.open(url)
    page.choose(encoded("TIFF"), "scan.tif", tmp_path)
    page.result()
    assert page["download"].get_attribute("download") == "scan-blurred.png"
    assert page["after"].is_displayed()
    assert page["after"].value_of_css_property("clip-path") == "none"
    assert not page["before"].is_displayed()
    assert not page["split"].is_displayed()


def test_mask(page, url):
    page.open(url)
    page.hand_over("drop", PNG)
    page.result()
    until(page["masked"].is_enabled)
    page.browser.find_element("css selector", "label:has(#masked)").click()
    assert page["mask"].is_displayed()
    assert not page["after"].is_displayed()
    assert page["right"].text == "Mask"
    answer = httpx.post(url + "/v2/edit", files={"imageFile": PNG})
    alpha = np.asarray(opened(answer.content)).astype(int)[..., 3]
    mask = page.pixels("mask")
    assert (np.abs(mask[..., :3] - alpha[..., None]) <= 1).all()
    assert (mask[..., 3] == 255).all()
    assert page.log() == []


@pytest.mark.parametrize(
    ("mask", "told"),
    [(1.0, "The model is sure of the subject."), (0.6, "The model is unsure"), (0.0, "No subject was found")],
)
def test_subject(page, mask, told):
    with running(model=lambda picture: np.full(picture.shape[2:], mask, np.float32)) as url:
        page.open(url)
        page.hand_over("drop", PNG)
        page.result()
        assert until(lambda: page["sure"].text).startswith(told)
        assert page["masked"].is_enabled() == (mask > 0)
        if mask == 0:
            page.pick("remove")
            assert page.error().startswith("No subject was found, so there is nothing to cut out.")
            assert not page["download"].is_displayed()


def test_slider(page, url):
    page.open(url, "phone")
    page.hand_over("paste", PNG)
    page.result()
    slider = page["split"]
    assert page.split() == pytest.approx(0.5, abs=0.01)
    for keys, share in ((RIGHT, 0.51), (END, 1), (HOME, 0)):
        slider.send_keys(keys)
        assert page.split() == pytest.approx(share, abs=0.01)
    box = page.script("return document.getElementById('compare').getBoundingClientRect().toJSON()")
    page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    at = [{"x": box["x"] + share * box["width"], "y": box["y"] + 20} for share in (0.0, 0.2, 0.75)]
    for kind, points in (("touchStart", at[:1]), ("touchMove", at[1:2]), ("touchMove", at[2:]), ("touchEnd", [])):
        page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(lambda: page.split() == pytest.approx(0.75, abs=0.02))
    shapes = [page[name].value_of_css_property("clip-path") for name in ("before", "after")]
    assert shapes == ["inset(0px 25% 0px 0px)", "inset(0px 0px 0px 75%)"]


def test_example_by_keyboard(page, url):
    page.open(url)
    stops = []

    def tab():
        page.browser.switch_to.active_element.send_keys(TAB)
        assert page.script(RING), page.script("return document.activeElement.outerHTML")
        stops.append(page.script("return document.activeElement.id || document.activeElement.name"))

    while "example" not in stops:
        tab()
        assert len(stops) < 10
    page.browser.switch_to.active_element.send_keys("\n")
    page.result()
    assert page["download"].get_attribute("download") == "otters-blurred.jpg"
    assert list(page.pixels("before").shape[1::-1]) == list(Image.open(PHOTO).size)
    page.script("document.activeElement.blur(); scrollTo(0, 0)")
    until(page["masked"].is_enabled)
    stops.clear()
    while "keep" not in stops:
        tab()
        assert len(stops) < 20
    assert stops == ["split", "plain", "download", "", "effect", "radius", "keep"]  # "": Another photo


def test_errors(page, url):
    page.open(url)
    page.hand_over("drop", b"text", "a.txt", "text/plain")
    assert "The photo: is not a picture" in page.error()
    assert page["why"].get_attribute("role") == "alert"
    page.hand_over("drop", PNG, count=2)
    until(lambda: page["why"].text == "One photo at a time, please.")
    page.hand_over("drop", PNG)
    first = page.result()
    assert not page["why"].is_displayed()
    page.change("keep", "unicorn", "change")
    assert page.error().startswith("Keep: ")
    page.change("keep", "", "change")
    page.result(first)
    assert all("status of 400" in message for message in page.log())


def test_server_gone_and_back(page, url):
    page.open(url)
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/v2/edit"]})
    page.hand_over("drop", PNG)
    assert page.error().startswith("The server cannot be reached")
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    page["again"].click()
    page.result()


def test_cancel(page):
    asked, go = threading.Event(), threading.Event()

    def slow(picture):
        asked.set()
        assert go.wait(PATIENCE)
        return find_ellipse(picture)

    go.set()  # the server warms up
    with running(model=slow, work_seconds=2 * PATIENCE) as url:
        asked.clear()
        go.clear()
        try:
            page.open(url)
            page.hand_over("drop", PNG)
            assert asked.wait(PATIENCE)
            until(lambda: page["time"].text.startswith("Working … ") and page["time"].text.endswith("s"))
            page["cancel"].click()
            until(lambda: page["said"].text == "Cancelled.")
            assert not page["busy"].is_displayed()
            assert not page["download"].is_displayed()
        finally:
            go.set()
        page.change("radius", "2")
        page.result()


def test_key(page, tmp_path):
    keys, key = tmp_path / "keys", "k" * 16
    keys.write_text(key)
    with running(no_keys=False, keys=keys) as url:
        page.open(url)
        page.hand_over("drop", PNG)
        assert page.error() == "This server asks for an API key."
        page.change("key", "wrong", "change")
        until(lambda: page["why"].text == "the API key is missing or wrong")
        page.change("key", key, "change")
        page.result()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_accessible(page, url, size, scheme):
    def look():
        assert page.script("return document.documentElement.scrollWidth") <= SIZES[size][0]
        seen = [e for e in page.browser.find_elements("css selector", CONTROLS) if e.is_displayed()]
        nameless = [e.get_attribute("outerHTML") for e in seen if not e.accessible_name and e.aria_role not in UNNAMED]
        assert nameless == []
        assert page.script(COMMON + UNLABELLED) == []
        contrasts = page.script(CONTRAST)
        assert len(contrasts) > 8
        assert [(text, round(contrast, 2)) for text, contrast in contrasts if contrast < 4.5] == []

    page.open(url, size, scheme)
    assert not page["key"].is_displayed()
    look()
    page.hand_over("drop", PNG)
    page.result()
    until(page["masked"].is_enabled)
    look()
    page.pick("remove")
    page.browser.find_element("css selector", "label:has(#masked)").click()
    look()
    page.change("keep", "unicorn" * 18, "change")
    page.error()
    look()
