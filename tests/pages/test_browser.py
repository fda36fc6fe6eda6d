"""
The operator's pages in a real browser.

One browser and one host serve all tests, for both take their time to start.
"""

from __future__ import annotations

import atexit
from functools import lru_cache

from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import SynchronousTestCase

from tests.pages.browser import Browser
from tests.pages.scene import HOSTILE, MANY, STRANGER, Guest, Scene, wait_for

#: An instance that asks, and one that does not.
ASKS, RESTS = Guest(20), Guest(21)

#: Every page, where all is well.
PAGES = (
    "/",
    "/networks",
    "/instances?search=vm-2",
    f"/instances/{ASKS.instance}",
    "/transactions",
    "/why",
    f"/why?address={ASKS.address}",
    f"/why?address=127.0.1.{STRANGER}",
    "/checks",
)


@lru_cache
def scene() -> Scene:
    """
    Have a host on which things have happened.
    """
    host = Scene.begin()
    atexit.register(host.end)
    for guest in map(Guest, range(1, 10)):
        host.ask(guest.address)
    host.ask(ASKS.address, "/latest/%3Cscript%3Ealert(1)%3C/script%3E")
    host.ask(f"127.0.1.{STRANGER}")
    return host


@lru_cache
def browser() -> Browser:
    """
    Have a browser that looks at it.
    """
    started = Browser(scene().pages)
    atexit.register(started.end)
    return started


class BrowserTestCase(SynchronousTestCase):
    """
    Looks at the pages.
    """

    def setUp(self) -> None:
        """
        Begin anew.
        """
        self.scene, self.browser = scene(), browser()
        self.browser.reset()

    def assert_content(self) -> None:
        """
        Assert that the browser had nothing to complain of: no fault of a script, and
        nothing that the pages' policy forbids.
        """
        self.assertEqual(self.browser.complaints(), [])


class PagesTests(BrowserTestCase):
    """
    What holds for every page.
    """

    def test_rendered(self) -> None:
        """
        Each is rendered with its style, and the browser complains of nothing.
        """
        for path in PAGES:
            self.browser.open(path)
            self.assertEqual(len(self.browser.texts("h1")), 1, path)
            style = "return getComputedStyle(document.querySelector('nav ul')).display"
            self.assertEqual(self.browser.run(style), "flex")
            self.assert_content()

    def test_accessible(self) -> None:
        """
        axe-core finds nothing wrong with any; nor in the dark or on a phone.
        """
        light = [(path, 1280, "light") for path in PAGES]
        others = [("/", 1280, "dark"), ("/transactions", 360, "dark")]
        for path, width, scheme in (*light, *others):
            self.browser.show_as(width, scheme)
            self.browser.open(path)
            self.assertEqual(self.browser.axe(), [], (path, width, scheme))

    def test_phone(self) -> None:
        """
        At the width of a phone nothing is wider than the screen.
        """
        self.browser.show_as(360)
        for path in PAGES:
            self.browser.open(path)
            width = self.browser.run("return document.documentElement.scrollWidth")
            self.assertLessEqual(width, 360, path)

    def test_keyboard(self) -> None:
        """
        All can be reached by keyboard, in the order in which it is read; where the
        focus is can be seen; and the navigation can be skipped.
        """
        self.browser.open(f"/why?address={ASKS.address}")
        tag, text, is_shown = self.browser.press()
        self.assertEqual((tag, text, is_shown), ("a", "Skip to the content", True))
        visited = [self.browser.press() for _ in range(9)]
        pages = ["Overview", "Networks", "Instances", "Transactions", "Why?", "Checks"]
        self.assertEqual(
            [(tag, text) for tag, text, _is_shown in visited],
            [
                *(("a", page) for page in pages),
                *(("input", "address"), ("input", "network"), ("button", "Why?")),
            ],
        )
        self.assertTrue(all(is_shown for _tag, _text, is_shown in visited))
        self.browser.open(f"/why?address={ASKS.address}")
        self.browser.press()
        self.browser.press(Keys.ENTER)
        self.assertEqual(self.browser.press()[:2], ("input", "address"))


class FindingTests(BrowserTestCase):
    """
    Searching, paging and asking why.
    """

    def test_search(self) -> None:
        """
        An instance is found by its MAC, and its story is a link away.
        """
        self.browser.open("/instances")
        self.browser.one("#search").send_keys(RESTS.mac + Keys.ENTER)
        self.browser.wait_until(
            "one is found", lambda: len(self.browser.texts("tbody tr")) == 1
        )
        self.browser.one("tbody a").click()
        self.browser.wait_until(
            "its story", lambda: self.browser.text("h1") == f"Instance {RESTS.instance}"
        )
        self.assert_content()

    def test_paging(self) -> None:
        """
        Page by page all instances are seen, and each once.
        """
        seen: list[str] = []
        following = "/instances"
        while following:
            self.browser.open(following)
            seen += self.browser.texts("tbody th")
            following = self.browser.run(
                "return document.querySelector('a[rel=next]')?.getAttribute('href')"
            )
        self.assertEqual(seen, [Guest(n).instance for n in range(1, MANY + 1)])

    def test_why(self) -> None:
        """
        Whoever was refused is found by the form, with a readable account of it.
        """
        self.browser.open("/why")
        self.browser.one("#address").send_keys(f"127.0.1.{STRANGER}" + Keys.ENTER)
        self.browser.wait_until("it is told", lambda: self.browser.all(".candidate"))
        account = self.browser.text(".account")
        self.assertIn("No inventory knows a port", account)
        self.assertIn("answered 404", account)
        self.assert_content()

    def test_watch(self) -> None:
        """
        An instance is watched by the form on its page, and its steps are there then.
        """
        self.browser.open(f"/instances/{RESTS.instance}")
        self.browser.one("form[method=post] button").click()
        self.browser.wait_until(
            "it is watched", lambda: "It is watched for" in self.browser.text("main")
        )
        self.scene.ask(RESTS.address)
        self.browser.open(f"/instances/{RESTS.instance}")
        self.assertIn("Steps of its requests", self.browser.text("caption"))
        self.assert_content()


class LiveTests(BrowserTestCase):
    """
    The live tail of transactions.
    """

    def watch(self, path: str) -> None:
        """
        Open a page, and wait until it is live.
        """
        self.browser.open(path)
        self.browser.run("window.same = 1")
        self.browser.wait_until(
            "the page is live",
            lambda: self.browser.text("#tail").startswith("Live"),
        )

    def newest(self) -> str:
        """
        Read the row above all others.
        """
        return self.browser.text("tbody tr:first-child")

    def test_row(self) -> None:
        """
        A request is seen while one looks, without loading the page again, and how many
        were seen is told to a screen reader.
        """
        self.watch("/transactions")
        self.scene.ask(ASKS.address, "/latest/meta-data/hostname?live")
        self.browser.wait_until("the row", lambda: "hostname?live" in self.newest())
        self.assertEqual(self.browser.run("return window.same"), 1)
        self.assertEqual(self.browser.one("#tail").get_attribute("role"), "status")
        self.browser.wait_until(
            "it is told", lambda: "new since you began" in self.browser.text("#tail")
        )
        self.assert_content()

    def test_filtered(self) -> None:
        """
        With a filter only those that pass it are seen.
        """
        self.watch(f"/transactions?address={ASKS.address}")
        self.scene.ask(RESTS.address, "/latest/meta-data/hostname?not-this")
        self.scene.ask(ASKS.address, "/latest/meta-data/hostname?this")
        self.browser.wait_until("the row", lambda: "hostname?this" in self.newest())
        self.assertNotIn("not-this", self.browser.text("tbody"))

    def test_stopped(self) -> None:
        """
        The tail stops, and goes on with what happened meanwhile.
        """
        self.watch("/transactions")
        self.browser.one("#live").click()
        self.assertEqual(self.browser.text("#tail"), "Stopped.")
        self.scene.ask(ASKS.address, "/latest/meta-data/hostname?meanwhile")
        self.assertNotIn("meanwhile", self.browser.text("tbody"))
        self.browser.one("#live").click()
        self.browser.wait_until("the row", lambda: "?meanwhile" in self.newest())

    def test_without_scripts(self) -> None:
        """
        Without JavaScript the page is there, and a link looks again.
        """
        self.browser.set_scripts(False)
        self.browser.open("/transactions")
        self.scene.ask(ASKS.address, "/latest/meta-data/hostname?plain")
        self.assertEqual(self.browser.all("#live"), [])
        self.browser.one("#again").click()
        self.browser.wait_until("the row", lambda: "hostname?plain" in self.newest())


class HostileTests(BrowserTestCase):
    """
    Names that instances give themselves to do harm.
    """

    def test_inert(self) -> None:
        """
        They are seen as what they are: no script runs, no element is made.
        """
        numbers = range(1, len(HOSTILE) + 1)
        stories = [f"/instances/{Guest(number).instance}" for number in numbers]
        for path in ("/instances", *stories, "/transactions"):
            self.browser.open(path)
            self.assertIsNone(self.browser.run("return window.owned ?? null"), path)
            self.assertEqual(self.browser.all("img, iframe, main svg, main script"), [])
            attributes = "return document.querySelectorAll('[onmouseover]').length"
            self.assertEqual(self.browser.run(attributes), 0)
            self.assert_content()
        self.browser.open("/instances")
        text = self.browser.text("tbody")
        for name in HOSTILE:
            self.assertIn(name, text)
        self.browser.open("/transactions")
        self.assertIn("/latest/%3Cscript%3E", self.browser.text("tbody"))


class PlotsTests(BrowserTestCase):
    """
    The plots on the overview; the last tests, for samples take their time.
    """

    def test_plots(self) -> None:
        """
        Rate and latency are drawn when there are two samples, ten seconds apart.
        """
        wait_for("two samples", lambda: len(self.scene.tell("history")["samples"]) > 1)
        self.browser.open("/")
        sizes = [each.size for each in self.browser.all("svg.plot")]
        self.assertEqual(len(sizes), 2)
        self.assertTrue(all(size["width"] > 300 for size in sizes), sizes)
        self.assertEqual(self.browser.axe(), [])
        self.assert_content()
