"""The page at / in a browser without a window: a photo goes in, before and after are seen, the radius moves."""

import shutil

import pytest
from conftest import PATIENCE, until
from serving import PNG, running

webdriver = pytest.importorskip("selenium.webdriver")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture
def browser():
    if BROWSER is None or DRIVER is None:
        pytest.skip("no chromium with its chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    browser.set_page_load_timeout(PATIENCE)
    yield browser
    browser.quit()


def change(browser, name, value):
    script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
    browser.execute_script(script + "e.dispatchEvent(new Event('input', {bubbles: true}))", name, value)


def size(browser, name):
    script = "const i = document.getElementById(arguments[0]); return [i.naturalWidth, i.naturalHeight]"
    return browser.execute_script(script, name)


DROP = """
const dropped = new DataTransfer();
dropped.items.add(new File(["text"], "a.png"));
document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true}));
"""


def test_page(browser, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    with running() as url:
        browser.get(url)
        said, after, shown = (browser.find_element("id", name) for name in ("said", "after", "shown"))

        def result(other_than=None):
            return until(lambda: (source := after.get_attribute("src")) != other_than and source)

        browser.find_element("id", "file").send_keys(str(photo))
        first = result()
        until(lambda: said.text.startswith("Done"))
        assert size(browser, "before") == size(browser, "after") == [64, 48]
        change(browser, "radius", 0.04)
        second = result(other_than=first)
        assert shown.text == "0.040"
        change(browser, "mode", "remove")
        result(other_than=second)

        browser.execute_script(DROP)  # no picture: the server's own words are shown
        until(lambda: "imageFile: is not a picture" in said.text)
        severe = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
        assert all("400" in message or "favicon" in message for message in severe), severe
