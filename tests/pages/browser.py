"""
Debian's chromium without a window, as an operator uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import axe_core_python
from attrs import define, field
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.pages.scene import wait_for

#: Where Debian has them.
_CHROMIUM, _DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"

_AXE = Path(axe_core_python.__file__).with_name("axe.min.js")

#: What is shown of some elements.
_TEXTS = """
    return Array.from(document.querySelectorAll(arguments[0]), (it) => it.innerText);
"""

#: What the focus is on: its tag, and its text or name.
_FOCUSED = """
    const it = document.activeElement;
    const shown = getComputedStyle(it).outlineStyle !== "none" || it.tagName === "BODY";
    return [it.tagName.toLowerCase(), (it.innerText || it.name || "").trim(), shown];
"""


@define(eq=False)
class Browser:
    """
    The browser.

    @ivar _base: Where the pages are.
    @ivar driver: Selenium's driver.
    """

    _base: str
    driver: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Start it.
        """
        options = webdriver.ChromeOptions()
        options.binary_location = _CHROMIUM
        for argument in (
            # It runs as root here, in a namespace of its own.
            *("--headless=new", "--no-sandbox", "--disable-gpu"),
            *("--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"),
            *("--disable-background-networking", "--disable-component-update"),
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(_DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(30)

    def end(self) -> None:
        """
        End it.
        """
        self.driver.quit()

    def reset(self) -> None:
        """
        Be as if it were new: a desktop's size, light, with JavaScript, no complaints.
        """
        self.set_scripts(True)
        self.show_as(1280)
        self.driver.get("about:blank")
        self.complaints()

    def open(self, path: str) -> None:
        """
        Go to a page.
        """
        self.driver.get(f"http://{self._base}{path}")

    def show_as(self, width: int, scheme: str = "light") -> None:
        """
        Be a screen.

        @param width: How wide it is, in CSS pixels; a phone below 500.
        @param scheme: C{light} or C{dark}.
        """
        self._do(
            "Emulation.setDeviceMetricsOverride",
            {
                **{"width": width, "height": 800, "deviceScaleFactor": 1},
                "mobile": width < 500,
            },
        )
        scheme_of = {"name": "prefers-color-scheme", "value": scheme}
        self._do("Emulation.setEmulatedMedia", {"features": [scheme_of]})

    def set_scripts(self, are_run: bool) -> None:
        """
        Run pages' scripts, or don't.
        """
        self._do("Emulation.setScriptExecutionDisabled", {"value": not are_run})

    def complaints(self) -> Sequence[str]:
        """
        Tell what the browser complained of since it was last asked: faults of scripts,
        what the pages' policy forbade, what could not be loaded.
        """
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if not entry["message"].startswith("chrome://")
        ]

    def run(self, script: str, *arguments: object) -> Any:
        """
        Run a script of ours in the page.
        """
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> Sequence[WebElement]:
        """
        Find elements.

        @param selector: As in CSS.
        """
        found: Sequence[WebElement] = self.driver.find_elements(
            By.CSS_SELECTOR, selector
        )
        return found

    def one(self, selector: str) -> WebElement:
        """
        Find the first of some elements.
        """
        return self.all(selector)[0]

    def texts(self, selector: str) -> Sequence[str]:
        """
        Read some elements as they are shown.
        """
        texts: Sequence[str] = self.run(_TEXTS, selector)
        return texts

    def text(self, selector: str) -> str:
        """
        Read some elements together; nothing where there are none (yet).
        """
        return "\n".join(self.texts(selector))

    def wait_until(self, what: str, look: Callable[[], Any]) -> Any:
        """
        Look again and again until there is something.
        """
        return wait_for(what, look)

    def press(self, key: str = Keys.TAB) -> tuple[str, str, bool]:
        """
        Press a key.

        @return: What the focus is on then: its element, its text or name, and whether
            that can be seen.
        """
        webdriver.ActionChains(self.driver).send_keys(key).perform()
        tag, text, is_shown = self.run(_FOCUSED)
        return tag, text, is_shown

    def axe(self) -> Sequence[str]:
        """
        Have axe-core look at the page.

        @return: What it found wrong, and where.
        """
        self.run(_AXE.read_text("utf-8"))
        found: Mapping[str, Any] = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']}).then(done);"
        )
        return [
            f"{each['id']}: {each['help']}: {[n['html'] for n in each['nodes']][:3]}"
            for each in found["violations"]
        ]

    def _do(self, command: str, parameters: Mapping[str, object]) -> None:
        """
        Tell the browser something that no operator could.
        """
        self.driver.execute_cdp_cmd(command, dict(parameters))
