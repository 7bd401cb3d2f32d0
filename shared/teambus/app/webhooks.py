"""`WebhookHook`: a background hook that is an address to post to, as plain data.

The hook-runner knows how to send. What is said here is what any process can check without the
network and, for a secret that only the hook-runner has, without the secret.
"""

import base64
import binascii
import ipaddress
from dataclasses import field, replace
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from teambus.app.errors import DefinitionError
from teambus.app.marks import RETRY_DELAY_S_MAX, HookOptions, checked
from teambus.app.names import slug
from teambus.app.options import definition, hidden, labelled, shortened
from teambus.contracts.output import RunStatus

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

SECRET_PREFIX = "whsec_"
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
HOW_TO_MAKE_ONE = (
    'make one with: python -c "import base64, secrets;'
    " print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
)
_SOURCES = ("secret", "secret_env", "secret_file")


@definition("webhook")
class WebhookHook:
    """Posts each completed run to `url`, signed after the Standard Webhooks specification.

    It is a post-hook like any other, always in the background. The secret begins with `whsec_`;
    several sign each message with each. `secret_env` and `secret_file` name a variable or a file
    of the hook-runner, which alone needs it then. Addresses that are not public are refused, and
    so is http://, unless they are in `networks_allowed`, as in ["127.0.0.0/8"], or allowed by the
    hook-runner's setting. The name is made from the app's and the url's host unless given.
    """

    url: str = hidden(default="", kw_only=False)
    secret: str | list[str] | None = hidden(default=None, kw_only=False)
    secret_env: str | None = None
    secret_file: str | None = None
    name: str | None = None
    attempts_max: int = 12
    timeout_s: float = 20
    backoff_s: float = 5
    concurrency_max: int = 16
    on: tuple[str, ...] = (RunStatus.COMPLETED.value,)
    replay: str = "new"
    networks_allowed: list[str] = field(default_factory=list)
    __teambus_hook__: HookOptions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        label = labelled("webhook", self.name)
        mistakes = [
            *url_mistakes(label, self.url),
            *self._secret_mistakes(label),
            *_network_mistakes(label, self.networks_allowed),
        ]
        if mistakes:
            raise DefinitionError(*mistakes)
        self.__teambus_hook__ = self._options(label)

    async def __call__(self, **_: Any) -> None:
        raise RuntimeError("a webhook is not called but sent, by the hook-runner")

    @property
    def __name__(self) -> str:
        """What hooks without a name of their own are named by, functions and this alike."""
        return f"webhook-{slug(self.address.hostname or '')}"

    @property
    def address(self) -> SplitResult:
        return urlsplit(self.url)

    def _options(self, label: str) -> HookOptions:
        given = {
            "name": self.name,
            "attempts_max": self.attempts_max,
            "timeout_s": self.timeout_s,
            "backoff_s": self.backoff_s,
            "concurrency_max": self.concurrency_max,
            "on": self.on,
            "replay": self.replay,
        }
        # Retry-After may make any of the waits the longest one.
        checked(label, HookOptions(), given | {"backoff_s": float(RETRY_DELAY_S_MAX)})
        return replace(checked(label, HookOptions(), given), run_in_background=True)

    def _secret_mistakes(self, label: str) -> list[str]:
        given = [name for name in _SOURCES if getattr(self, name)]
        if len(given) != 1:
            said = f"it has {' and '.join(given)}" if given else "it has no secret"
            return [f"{label}: {said}; give one of {', '.join(_SOURCES)}. {HOW_TO_MAKE_ONE}"]
        if not self.secret:
            return []
        try:
            signing_keys(self.secret)
        except ValueError as error:
            return [f"{label}: {error}"]
        return []


def url_mistakes(label: str, url: str) -> list[str]:
    """The url is not shown: it may hold a token."""
    if not all("!" <= each <= "~" for each in url):
        return [f"{label}: the url has spaces or letters beyond ASCII; write them percent-encoded"]
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        return [f'{label}: the url cannot be read; it must be like "https://example.com/path"']
    if not is_whole:
        return [f'{label}: the url must be like "https://example.com/path"']
    if "@" in parts.netloc:
        return [f"{label}: the url has a user or password in it; the signature says who sends"]
    return []


def signing_keys(secret: str | list[str]) -> list[bytes]:
    """The keys of one or several secrets, as many in one text as are separated by spaces or lines.

    Raises `ValueError`, which says what is wrong without showing a secret.
    """
    texts = secret.split() if isinstance(secret, str) else [t for s in secret for t in s.split()]
    if not texts:
        raise ValueError(f"the secret is empty. {HOW_TO_MAKE_ONE}")
    return [_key(text) for text in texts]


def _key(text: str) -> bytes:
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"a secret must begin with {SECRET_PREFIX}. {HOW_TO_MAKE_ONE}")
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            f"a secret must be base64 after {SECRET_PREFIX}. {HOW_TO_MAKE_ONE}"
        ) from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"a secret must be {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, one is {len(key)}."
            f" {HOW_TO_MAKE_ONE}"
        )
    return key


def _network_mistakes(label: str, texts: list[str]) -> list[str]:
    mistakes = []
    for text in texts:
        try:
            network(text)
        except ValueError as error:
            mistakes.append(f"{label}: networks_allowed has {shortened(text)}: {error}")
    return mistakes


def network(text: Any) -> Network:
    """Raises `ValueError` unless it is one, as in 10.0.0.0/8."""
    return ipaddress.ip_network(text, strict=True)
