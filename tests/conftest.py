"""One setting for all property tests: no deadline, because how long an example takes is the machine's affair."""

from hypothesis import settings

settings.register_profile("fleetco2", deadline=None)
settings.load_profile("fleetco2")
