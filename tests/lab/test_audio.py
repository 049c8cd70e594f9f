"""Isochronous: a sound device, when both owners say so. What a program on the VM plays comes out of the device in the Pi."""
import array
import io
import math
import re
import time
import wave

import pytest

from usbpush_lab import wait_until

ACCEPT, DEVICES = "/etc/usbpush/accept.conf", "/etc/usbpush/devices.conf"
RATE, SECONDS, HERTZ, LOUD = 48000, 10, 440, 12000


def tone():
    frames = array.array("h")
    for i in range(RATE * SECONDS):
        sample = int(LOUD * math.sin(2 * math.pi * HERTZ * i / RATE))
        frames.extend((sample, sample))
    text = io.BytesIO()
    with wave.open(text, "wb") as f:
        f.setparams((2, 2, RATE, 0, "NONE", ""))
        f.writeframes(frames.tobytes())
    return text.getvalue()


def seconds_of_sound(path):
    """How long it was loud, and of how many Hz that was: zero crossings upwards of the left channel, by its length."""
    data = path.read_bytes()
    rate = int.from_bytes(data[24:28], "little")
    samples = array.array("h", data[44:])[::2]
    step = rate // 100
    seconds = sum(1 for i in range(0, len(samples) - step, step) if max(samples[i:i + step]) > LOUD // 2) / 100
    return seconds, sum(1 for a, b in zip(samples, samples[1:]) if a < 0 <= b) / (seconds or 1)


@pytest.mark.parametrize("backend", ["usbip-host", "usbfs"])
def test_a_tone_that_the_vm_plays_comes_out_of_the_device(product, backend):
    product.vm.write(ACCEPT, "accept class=audio\n")
    product.pi.write(DEVICES, f"share class=audio name=speaker backend={backend}\n")
    product.vm.write("/var/tmp/tone.wav", tone())
    mark = f"a tone by {backend} is played"
    product.vm.sh(f"echo {mark} > /dev/kmsg")
    try:
        device = product.lab.plug("audio", "A1")
        product.wait_device(device, "ATTACHED", timeout=90)
        wait_until(lambda: product.vm.exists("/dev/snd/pcmC0D0p"), 60, "the sound card on the VM", lab=product.lab)
        t = time.monotonic()
        said = product.vm.sh("aplay -q -D hw:0,0 /var/tmp/tone.wav 2>&1", timeout=120)
        took = time.monotonic() - t
        said_since = product.vm.sh("dmesg").partition(mark)
        errors = re.findall(r".*(?:usb.*(?:error|cannot|timeout|fail)|snd.*error).*", said_since[2], re.I)
        device.unplug()
        product.wait_nothing_attached()
    finally:
        product.vm.sh(f"rm -f {ACCEPT} /var/tmp/tone.wav")
        product.pi.sh(f"rm -f {DEVICES}")
    loud, hertz = seconds_of_sound(product.lab.sound_file())
    print(f"played in {took:.1f} s, loud for {loud:.2f} s at {hertz:.1f} Hz; aplay said {said!r}; {errors!r}")
    assert said_since[1] and not errors, errors
    assert loud >= SECONDS - 0.5 and abs(hertz - HERTZ) < HERTZ / 100
