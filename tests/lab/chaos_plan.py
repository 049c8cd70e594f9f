"""What a run of chaos does, drawn from its seed alone: the same seed has the same plan on every machine."""
import dataclasses
import random

SERIAL_SOCKETS = ("A1", "A2", "B1", "B2")
BOARD_SOCKETS = ("G1", "G2", "G3", "G4")
STRANGERS = {"C1": "keyboard", "C2": "disk"}


@dataclasses.dataclass(frozen=True)
class Step:
    pause: float  # seconds before it
    fault: str
    arguments: tuple = ()

    def __str__(self):
        return f"{self.pause:4.1f} s  {self.fault} {' '.join(str(a) for a in self.arguments)}"


class Planner:
    """Draws burst after burst. It knows what is plugged in, so that each fault has something to hit."""

    WEIGHTS = {"plug": 12, "unplug": 8, "move": 4, "flap": 4, "reenumerate": 8, "stranger": 3,
               "cut_short": 6, "cut_long": 2, "cut_one_way": 3, "delay": 3,
               "kill_exporter": 4, "kill_handler": 4, "kill_relay": 4, "kill_sshd": 3,
               "restart_exporter": 2, "restart_handler": 2, "restart_sshd": 1,
               "reset_pi": 1, "reset_vm": 1, "power_pi": 1, "power_vm": 1}
    REBOOTS = {"reset_pi", "reset_vm", "power_pi", "power_vm"}

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._plugged = set()
        self._n_serials = 0

    def first(self):
        """What is plugged in before the first fault."""
        return [self._plug(socket) for socket in ("A1", "B1", "G1", "G2")]

    def burst(self):
        """The steps of one burst; behind the last one nothing is cut or off any more."""
        steps, has_rebooted = [], False
        while len(steps) < self._random.randint(3, 8):
            fault = self._random.choices(list(self.WEIGHTS), self.WEIGHTS.values())[0]
            if fault in self.REBOOTS and has_rebooted:
                continue
            step = self._draw(fault)
            if step:
                steps.append(step)
                has_rebooted |= fault in self.REBOOTS
        return steps + [Step(0.0, "mend")]

    def _draw(self, fault):
        draw = getattr(self, f"_draw_{fault}", None)
        return draw() if draw else self._step(fault)

    def _step(self, fault, *arguments):
        return Step(round(self._random.choice((0.0, 0.0, 0.1, 0.5, 1.0, 2.0)) * self._random.random() * 2, 2), fault, arguments)

    def _plug(self, socket):
        self._plugged.add(socket)
        self._n_serials += 1
        return self._step("plug", socket, f"CHAOS{self._n_serials}")

    def _any(self, candidates):
        return self._random.choice(sorted(candidates)) if candidates else None

    def _draw_plug(self):
        socket = self._any({*SERIAL_SOCKETS, *BOARD_SOCKETS} - self._plugged)
        return self._plug(socket) if socket else None

    def _draw_unplug(self):
        socket = self._any(self._plugged)
        self._plugged.discard(socket)
        return self._step("unplug", socket) if socket else None

    def _draw_move(self):
        """The same device, from one socket to another."""
        source = self._any(self._plugged & set(SERIAL_SOCKETS))
        target = self._any(set(SERIAL_SOCKETS) - self._plugged)
        if not source or not target:
            return None
        self._plugged ^= {source, target}
        return self._step("move", source, target)

    def _draw_flap(self):
        """Plugged and pulled faster than the VM can attach it; in the end it is in."""
        socket = self._any(self._plugged & set(SERIAL_SOCKETS))
        return self._step("flap", socket, self._random.randint(2, 6)) if socket else None

    def _draw_reenumerate(self):
        socket = self._any(self._plugged & set(BOARD_SOCKETS))
        return self._step("reenumerate", socket, self._random.randint(1, 4)) if socket else None

    def _draw_stranger(self):
        """Something that is none of our business, in or out."""
        return self._step("stranger", self._any(STRANGERS))

    def _draw_cut_short(self):
        return self._step("cut", round(self._random.uniform(0.2, 5.5), 1))

    def _draw_cut_long(self):
        return self._step("cut", round(self._random.uniform(8.0, 14.0), 1))

    def _draw_cut_one_way(self):
        return self._step("cut_one_way", round(self._random.uniform(0.5, 11.0), 1), self._random.choice(("from", "to")))

    def _draw_delay(self):
        return self._step("delay", self._random.randint(5, 150), self._random.choice((0, 0, 1, 3)))

    def _draw_power_pi(self):
        return self._step("power", "pi", round(self._random.uniform(0.0, 12.0), 1))

    def _draw_power_vm(self):
        return self._step("power", "vm", round(self._random.uniform(0.0, 12.0), 1))

    def _draw_reset_pi(self):
        return self._step("reset", "pi")

    def _draw_reset_vm(self):
        return self._step("reset", "vm")

    def _draw_kill_exporter(self):
        return self._step("kill", "pi", "usbpush-exporter")

    def _draw_kill_handler(self):
        return self._step("kill", "vm", "usbpush-handler")

    def _draw_restart_exporter(self):
        return self._step("restart", "pi", "usbpush-exporter")

    def _draw_restart_handler(self):
        return self._step("restart", "vm", "usbpush-handler")

    def _draw_restart_sshd(self):
        return self._step("restart", "vm", "ssh")
