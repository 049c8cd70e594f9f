// A scripted exporter: its control socket, and devices that do what a test says. It checks nothing and knows no USB.

import net from 'node:net';

const SERIAL = { state: 'READY', name: '', reason: 'waiting for the VM', policy: 'a serial device: ftdi_sio', vm: null, steps_ms: { enumerate: 112.4, bind: 8.1 },
	error: null, next_try_ms: null, attached_count: 0, failed_count: 0 };

export const FTDI = { ...SERIAL, busid: '1-1.2', vid: '0403', pid: '6001', serial: 'A50285BI', manufacturer: 'FTDI', product: 'FT232R USB UART' };
export const ESP32 = { ...SERIAL, busid: '1-1.3', vid: '303a', pid: '1001', serial: '34:85:18:AB:CD:EF', manufacturer: 'Espressif', product: 'USB JTAG/serial debug unit',
	policy: 'a serial device: cdc_acm' };
export const CP2102 = { ...SERIAL, busid: '1-1.4', vid: '10c4', pid: 'ea60', serial: '0001', manufacturer: 'Silicon Labs', product: 'CP2102 USB to UART Bridge Controller',
	policy: 'a serial device: cp210x' };
export const ARDUINO = { ...SERIAL, busid: '1-1.1', vid: '2341', pid: '0043', serial: '7513930383135141', manufacturer: 'Arduino (www.arduino.cc)', product: 'Arduino Uno',
	policy: 'a serial device: cdc_acm' };
export const KEYBOARD = { ...SERIAL, busid: '1-1.5', vid: '046d', pid: 'c31c', serial: '', manufacturer: 'Logitech', product: 'USB Keyboard', state: 'IGNORED',
	reason: 'stays here: no serial driver is for it', policy: 'no serial driver is for it' };
export const HUB = { ...SERIAL, busid: '1-1', vid: '2109', pid: '3431', serial: '', manufacturer: '', product: 'USB2.0 Hub', state: 'IGNORED', reason: 'stays here: a hub', policy: 'a hub' };

export const attached = (device, node, port = 0) => ({ ...device, state: 'ATTACHED', reason: `attached as ${node}`, attached_count: 1,
	steps_ms: { enumerate: 112.4, bind: 8.1, wait: 0.2, stream: 4.6, attach: 461.3 },
	vm: { port, busid: `1-${port + 1}`, nodes: [node], links: [`/dev/serial/by-id/usb-${device.manufacturer}_${device.serial}-if00-port0`], steps_ms: { enumerated: 402.1, authorized: 1.2, nodes: 44 } } });
export const failed = (device, code, text, cure) => ({ ...device, state: 'FAILED', reason: `${text} ${cure}`, error: { code, text, cure }, next_try_ms: 4000, failed_count: 3 });
export const offered = (device) => ({ ...device, state: 'OFFERED', reason: 'being attached' });

const NO_LINK = { state: 'UNPAIRED', vm: '', host: '', user: 'usbpush', port: 22, address: '', since_ms: 1000, steps_ms: {}, rtt_ms: null, patience_ms: 8000, attempts: 0, vm_software: '',
	error: null, next_try_ms: null };
export const UP = { ...NO_LINK, state: 'UP', vm: 'bench-vm', host: 'bench-vm.example', address: '192.0.2.7', since_ms: 3 * 3600 * 1000, attempts: 1, vm_software: '0.1.0', rtt_ms: 1.234,
	steps_ms: { tcp: 11.2, host_key: 41.7, login: 66.4, handler: 69.8, sync: 71.3 } };
export const DOWN = { ...UP, state: 'DOWN', vm: 'bench-vm', rtt_ms: null, steps_ms: {}, next_try_ms: 7300,
	error: { code: 'unreachable', text: 'bench-vm.example port 22 does not answer', cure: 'Is the VM on, and is there a firewall between?' } };
export const REFUSED = { ...DOWN, state: 'REFUSED', next_try_ms: null, steps_ms: { tcp: 11.2 },
	error: { code: 'host-key', text: 'bench-vm.example shows another host key than the pinned one', cure: 'If the VM was installed anew, pair again: usbpush pair.' } };

export class Exporter {
	constructor(path) {
		this.path = path;
		this.status = { software: '0.1.0', id: '0'.repeat(32), name: 'raspberrypi', link: NO_LINK, devices: [], vms: [], problem: null, ok: true };
		this.events = [];
		this.asked = [];
		this.pairings = [];
		this.subscribers = new Set();
		this.sockets = new Set();
		this.answers = {};
	}

	listen() {
		this.server = net.createServer((socket) => this.#serve(socket));
		return new Promise((resolve) => this.server.listen(this.path, resolve));
	}

	close() {
		for (const socket of this.sockets)
			socket.destroy();
		this.subscribers.clear();
		return new Promise((resolve) => this.server.close(resolve));
	}

	#serve(socket) {
		let text = '';
		this.sockets.add(socket);
		socket.on('close', () => { this.sockets.delete(socket); this.subscribers.delete(socket); });
		socket.on('error', () => {});
		socket.on('data', (data) => {
			text += data;
			for (let at; (at = text.indexOf('\n')) >= 0; text = text.slice(at + 1))
				this.#answer(socket, JSON.parse(text.slice(0, at)));
		});
	}

	async #answer(socket, request) {
		this.asked.push(request);
		const answer = await (this.answers[request.request]?.(request, this) ?? this.#usual(socket, request));
		if (!socket.destroyed)
			socket.write(`${JSON.stringify(answer)}\n`);
	}

	#usual(socket, request) {
		switch (request.request) {
		case 'status': return this.status;
		case 'events':
			if (request.follow)
				this.subscribers.add(socket);
			return { ok: true, events: this.events };
		case 'key': return { ok: true, key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx0 usbpush@raspberrypi' };
		case 'pairings': return { ok: true, pairings: this.pairings, locked_ms: 0 };
		case 'attach': case 'detach': case 'share': case 'ignore': case 'name': case 'answer': case 'reset': return { ok: true, busid: request.device };
		case 'unpair':
			this.setLink(NO_LINK, 'UNPAIRED', 'not paired');
			return { ok: true, vm_cleaned: !this.left, left: this.left ?? null };
		case 'test': return { ok: true, link: this.status.link };
		default: return { ok: false, error: { code: 'bad-request', text: `the exporter knows no request "${request.request}"`, cure: '' } };
		}
	}

	tell(kind, busid, state, text) {
		const event = { seq: this.events.length + 1, time: new Date().toISOString(), kind, busid, state, text };
		this.events.push(event);
		for (const socket of this.subscribers)
			socket.write(`${JSON.stringify({ event })}\n`);
	}

	/** The device is plugged in, or has become this. */
	setDevice(device) {
		const devices = this.status.devices, at = devices.findIndex((d) => d.busid === device.busid);
		if (at < 0)
			devices.push(device);
		else
			devices[at] = device;
		this.tell('device', device.busid, device.state, device.reason);
	}

	unplug(busid) {
		this.status.devices = this.status.devices.filter((d) => d.busid !== busid);
		this.tell('device', busid, 'GONE', 'unplugged');
	}

	setLink(link, state = link.state, text = link.error?.text ?? 'connected to bench-vm') {
		this.status.link = link;
		this.tell('link', null, state, text);
	}
}

/** A VM, two devices on it, and two that stay. */
export function plugAll(exporter) {
	exporter.setLink(UP);
	exporter.setDevice(HUB);
	exporter.setDevice(KEYBOARD);
	exporter.setDevice(attached(FTDI, '/dev/ttyUSB0'));
	exporter.setDevice(attached(ARDUINO, '/dev/ttyACM0', 1));
}
