"""What artifacts mean, read from the bytes that a user would load.

Readers share nothing with the backends that write these bytes but value types.  They know the loaders' own rules
(iptables-restore, ipset restore) from their source and from asking them, and refuse whatever they do not know: an
unsupported construct means "not understood", never "fine".
"""
