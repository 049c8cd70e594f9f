"""The lab: two (or more) real machines under QEMU, and a hand in each.

    from usbpush_lab import Lab, wait_until
    lab = Lab().up()
    device = lab.plug("ft232", "A1", serial="A50285BI")
    device.wait_tty()
    lab.pi.sh("cat /sys/bus/usb/devices/*/serial")
"""
from .connection import CommandFailed, CommandTimeout, LabError
from .lab import Device, Guest, Lab, Result, Running, wait_until
from .serial_wire import SerialWire

__all__ = ["CommandFailed", "CommandTimeout", "Device", "Guest", "Lab", "LabError", "Result", "Running",
           "SerialWire", "wait_until"]
