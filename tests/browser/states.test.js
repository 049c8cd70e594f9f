// Every state of the portal's page: told, without a violation that axe-core would find, and kept as a picture in USBPUSH_SHOTS.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { Bed, DESKTOP, PHONE, checkComplaints, close, launch, openPage, shoot, until, violations } from './bed.js';
import { CP2102, DOWN, ESP32, REFUSED, UP, failed, offered, plugAll } from './exporter.js';

let browser, bed, page;

before(async () => { browser = await launch(); });
after(() => browser.close());
beforeEach(async () => { bed = await Bed.start(); });
afterEach(() => bed.stop());

describe('every state', () => {
	/** A state: what makes it, and what then stands there. */
	const STATES = {
		claim: { text: 'Make this portal yours', isOpen: true },
		login: { text: 'Log in to', isOpen: true, make: async () => { await bed.claim(); bed.cookie = null; } },
		unpaired: { text: 'Not paired with a VM yet', make: () => bed.exporter.setDevice({ ...ESP32, state: 'IGNORED', reason: 'stays here: not paired with a VM' }) },
		ready: { text: 'Ready: bench-vm is connected', make: () => bed.exporter.setLink(UP) },
		works: { text: 'It works: 2 devices on bench-vm', make: () => plugAll(bed.exporter) },
		busy: { text: '1 device on the way to bench-vm', make: () => { plugAll(bed.exporter); bed.exporter.setDevice(offered(ESP32)); } },
		failed: { text: '1 device could not be attached', make: () => {
			plugAll(bed.exporter);
			bed.exporter.setDevice(offered(ESP32));
			bed.exporter.setDevice(failed(CP2102, 'no-free-port', 'The VM has no free high-speed port (8 of 8 in use).', 'Detach a device there.'));
			bed.exporter.status.vms = [{ id: '1', name: 'bench-vm', host: 'bench-vm.local', address: '192.0.2.7', port: 22, fingerprint: 'SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8', is_paired: true },
				{ id: '2', name: 'rack-vm', host: 'rack-vm.local', address: '192.0.2.9', port: 2222, fingerprint: 'SHA256:br9IjFspm1vxR3iA35FWE+4VTyz1hYVLIE2t1/CeyWQ', is_paired: false }];
		} },
		blocked: { text: 'The Pi\'s kernel does not answer for 2 devices', make: () => {
			plugAll(bed.exporter);
			bed.exporter.setDevice({ ...ESP32, state: 'BINDING', reason: 'being bound' });
			bed.exporter.status.blocked = [{ name: ESP32.busid, step: 'write bus/usb/drivers/usbip-host/bind', since_ms: 12400 }, { name: '1-1.7', step: 'write bus/usb/drivers/usb/unbind', since_ms: 240000 }];
			bed.exporter.tell('device', ESP32.busid, 'BINDING', 'being bound');
		}, more: ['The Pi\'s kernel has not answered for 12 s (write bus/usb/drivers/usbip-host/bind).', '1-1.7 is unplugged. The Pi\'s kernel has not answered for 4 min (write bus/usb/drivers/usb/unbind).'] },
		connecting: { text: 'Connecting to bench-vm', make: () => bed.exporter.setLink({ ...UP, state: 'AUTHENTICATING', rtt_ms: null, steps_ms: { tcp: 11 } }) },
		down: { text: 'No connection to bench-vm.example', make: () => bed.exporter.setLink(DOWN) },
		refused: { text: 'The link waits for you', make: () => bed.exporter.setLink(REFUSED) },
		problem: { text: 'The kernel module usbip-host is not loaded', make: () => {
			bed.exporter.status.problem = { code: 'no-module', text: 'the kernel module usbip-host is not loaded', cure: 'Load it: modprobe usbip-host' };
			bed.exporter.setLink(UP);
		} },
		'exporter-away': { text: 'The exporter does not answer', make: async () => { await until(() => bed.exporter.subscribers.size, 'the portal listens'); await bed.exporter.close(); } },
	};
	const LOOKS = { desktop: DESKTOP, 'phone-dark': { ...PHONE, colorScheme: 'dark' } };
	const MORE_LOOKS = { dark: { ...DESKTOP, colorScheme: 'dark' }, phone: PHONE }; // of the state that has something of everything

	for (const [name, state] of Object.entries(STATES))
		it(`${name} is told, and axe-core finds nothing in it, large and small, light and dark`, async () => {
			if (!state.isOpen)
				await bed.claim();
			await state.make?.();
			for (const [look, options] of Object.entries(name === 'failed' ? { ...LOOKS, ...MORE_LOOKS } : LOOKS)) {
				page = await openPage(browser, bed, options);
				await page.getByRole('heading', { level: 1, name: state.text }).waitFor();
				for (const text of state.more ?? [])
					await page.getByText(text).waitFor();
				await shoot(page, `${name}-${look}`, { fullPage: true });
				assert.deepEqual(await violations(page), [], `${name} ${look}`);
				assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} ${look} scrolls sideways`);
				checkComplaints(page);
				await close(page);
			}
		});
});
