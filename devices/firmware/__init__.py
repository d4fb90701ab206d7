"""Firmware of the sensor nodes. One source for MicroPython and CPython; hardware only behind ``hal``."""
