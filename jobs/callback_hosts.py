"""The hosts to which the service may send callbacks, and the addresses at which it may reach them."""

from storage.errors import ConfigurationError
from storage.hosts import Hosts, Target

_LOCATION = ("callback", "url")


class AllowedHosts(Hosts):
    """The hosts to which callbacks may be sent."""

    def find_target(self, url: str) -> Target:
        """Return the target of a URL; raises `ConfigurationError` if no callback may be sent there."""
        if not self.names and not self.networks:
            raise ConfigurationError("`callback` must be left out: this service sends no callbacks.", ("callback",))
        target = self.parse_target(url)
        if target is None:
            message = f"`url` of a callback must begin with {self.schemes} and a host, without a user or a fragment."
            raise ConfigurationError(message, _LOCATION)
        if not self.allows_host(target.host):
            message = f"`url` of a callback must name a host that the service allows. Got: {target.host!r}."
            raise ConfigurationError(message, _LOCATION)
        return target


def check_hosts(text: str) -> str:
    """Return the list of hosts of a setting; raises `ValueError` if it is wrong."""
    AllowedHosts.parse(text)
    return text
