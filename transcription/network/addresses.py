"""
Which addresses belong to the open internet: a list of our own, after IANA's registries of special addresses.

Python's `is_global` differs by version (192.0.0.0/24 was global until 3.12, fec0::/10 still is), and an address that is
inside must be so everywhere.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip

# Only this part of IPv6 is given out; what is special within it follows. Tunnels (Teredo in 2001::/23, 6to4) carry IPv4
# inside to where their address doesn't say, and nobody serves recordings through them.
_GLOBAL_6 = IPv6Network("2000::/3")
_SPECIAL_6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether *address* belongs to the open internet, also when an IPv6 address only wraps an IPv4 one."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        wrapped = found.ipv4_mapped or (IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None)
        if wrapped is None:
            return found in _GLOBAL_6 and not any(found in network for network in _SPECIAL_6)
        found = wrapped
    return not any(found in network for network in _SPECIAL_4)
