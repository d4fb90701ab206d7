"""The whole delivery in one thread on virtual time: real gateways and a real consumer, everything between them made up by dice.

Real: ``Intake``, ``Timekeeper``, ``GatewayCore``, ``Ring``, ``ConsumerCore``, ``Service``. Modelled: disk, network, broker and, on
most seeds, the lake. One seed replays a run: ``python -m tests.system.vopr --seed S --trace``.
"""
