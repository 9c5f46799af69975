"""The browser for the tests of the interface: one that is installed, or Debian's on a build machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from _environment import cache_folder
from _progress import StepFailed, loud, run_logged

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
PLACES = {
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    ),
}


def find_browser() -> str | None:
    """Path of a Chromium or a relative: $SYNCDIFFUSION_BROWSER, on the PATH, in usual places; else None."""
    if chosen := os.environ.get("SYNCDIFFUSION_BROWSER"):
        return chosen
    on_path = filter(None, map(shutil.which, NAMES))
    usual = (place for place in PLACES.get(sys.platform, ()) if Path(place).is_file())
    return next(on_path, None) or next(usual, None)


def find_or_install_browser() -> str | None:
    """find_browser; on a Debian build machine (root, CI=true) installs chromium; else None, said loudly."""
    browser = find_browser()
    if browser is None and _may_install():
        browser = _apt_install()
    if browser is None:
        loud("No Chromium, Chrome or Edge found: the tests of the browser interface will not run.")
    return browser


def _may_install() -> bool:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return is_root and os.environ.get("CI", "").lower() in ("true", "1") and shutil.which("apt-get") is not None


def _apt_install() -> str | None:
    log = cache_folder() / "browser.log"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    try:
        run_logged("reading Debian's package lists", ["apt-get", "update"], log, timeout=300, env=env)
        run_logged("installing chromium", install, log, timeout=900, env=env)
    except StepFailed as error:
        loud(str(error))
    return find_browser()
