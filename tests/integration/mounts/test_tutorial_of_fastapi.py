"""The pages of FastAPI's tutorial, as applications that are mounted in a server and asked by HTTP."""

import asyncio

import pytest

from tests.support.http_talk import HttpClient
from tests.support.mounted import mounted
from tests.support.tutorial import PAGES

pytestmark = pytest.mark.one_loop

#: The applications that the acceptance of mounts names.
NAMES = [
    *("first-steps", "path-params", "query-params", "body", "query-params-str-validations"),
    *("path-params-numeric-validations", "query-param-models", "body-multiple-params", "body-nested-models"),
    *("extra-data-types", "cookie-params", "header-params", "response-model", "response-status-code"),
    *("request-forms", "request-files", "request-forms-and-files", "handling-errors"),
    *("path-operation-configuration", "body-updates", "dependencies", "dependencies/dependencies-with-yield"),
    *(
        "security/simple-oauth2",
        "middleware",
        "cors",
        "bigger-applications",
        "background-tasks",
        "static-files",
    ),
    *("advanced/custom-response", "advanced/response-cookies", "advanced/using-request-directly"),
    *("advanced/security/http-basic-auth", "advanced/sub-applications", "advanced/behind-a-proxy"),
    *("advanced/events", "advanced/websockets"),
]


def test_at_least_20_pages_are_there() -> None:
    assert len(NAMES) >= 20
    assert sorted(NAMES) == sorted(PAGES)


@pytest.mark.parametrize("name", NAMES)
async def test_page(name: str) -> None:
    page = PAGES[name]
    async with mounted({"/pages/of": page.application()}) as client:
        await page.ask(client, "/pages/of")


async def test_applications_of_all_pages_are_asked_at_once_in_one_server() -> None:
    apps = {f"/{name}": page.application() for name, page in PAGES.items()}
    async with mounted(apps) as client:

        async def ask(name: str) -> None:
            async with await HttpClient.to(client.address) as talk:  # type: ignore[attr-defined]
                talk.address = client.address  # type: ignore[attr-defined]
                await PAGES[name].ask(talk, f"/{name}")

        await asyncio.gather(*map(ask, PAGES))


async def test_page_at_the_root() -> None:
    page = PAGES["path-params"]
    async with mounted(page.application()) as client:
        await page.ask(client, "")


async def test_lifespans_of_several_pages_end_with_the_server() -> None:
    page = PAGES["advanced/events"]
    apps = {f"/{number}": page.application() for number in range(3)}
    async with mounted(apps) as client:
        for prefix in apps:
            await page.ask(client, prefix)
    assert [app.state.steps for app in apps.values()] == [["opened", "closed"]] * 3
