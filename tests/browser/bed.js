// What every browser test stands on: the real portal on a scripted exporter, and a Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { Exporter } from './exporter.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = process.env.USBPUSH_SOURCE_DIR ?? path.resolve(here, '../..');
const build = process.env.USBPUSH_BUILD_DIR ?? path.join(root, 'build/dev');
const axeSource = fs.readFileSync(path.join(here, 'node_modules/axe-core/axe.min.js'), 'utf8');
export const shots = process.env.USBPUSH_SHOTS ?? path.join(build, 'screenshots');
export const CODE = 'ABCD-EFGH', PASSWORD = 'correct horse';

/** Waits until ask() gives something. */
export async function until(ask, what, ms = 10000) {
	for (const end = Date.now() + ms; Date.now() < end; await new Promise((r) => setTimeout(r, 20))) {
		const is = await ask();
		if (is)
			return is;
	}
	throw new Error(`waited for ${ms} ms: ${what}`);
}

export class Bed {
	static async start({ config = '', program = path.join(build, 'usbpush-portal') } = {}) {
		const bed = new Bed();
		bed.program = program;
		bed.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'usbpush-portal.'));
		fs.mkdirSync(path.join(bed.dir, 'state'));
		fs.writeFileSync(path.join(bed.dir, 'portal.conf'), config);
		fs.writeFileSync(path.join(bed.dir, 'code'), `${CODE}\n`);
		bed.exporter = new Exporter(path.join(bed.dir, 'control.sock'));
		await bed.exporter.listen();
		await bed.startPortal(0);
		return bed;
	}

	async startPortal(port = this.port) {
		this.log = '';
		this.portal = spawn(this.program, ['--config', path.join(this.dir, 'portal.conf'), '--port', String(port),
			'--control', this.exporter.path, '--state', path.join(this.dir, 'state'), '--setup-code', path.join(this.dir, 'code')], { stdio: ['ignore', 'ignore', 'pipe'] });
		this.portal.stderr.on('data', (data) => { this.log += data; });
		this.exited = new Promise((resolve) => this.portal.on('exit', (code, signal) => resolve(signal ?? code)));
		this.port = Number((await until(() => this.log.match(/listening on port (\d+)/), `the portal's start: ${this.log}`))[1]);
		this.origin = `http://127.0.0.1:${this.port}`;
	}

	async stop() {
		this.portal.kill('SIGTERM');
		const code = await this.exited;
		await this.exporter.close();
		fs.rmSync(this.dir, { recursive: true });
		if (code !== 0)
			throw new Error(`the portal ended with ${code}: ${this.log}`);
	}

	async post(where, body, headers = {}) {
		return fetch(`${this.origin}/api/v1/${where}`, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...headers } });
	}

	/** Claims the portal without a browser; the headers that make a change possible. */
	async claim() {
		const answer = await this.post('claim', { code: CODE, password: PASSWORD });
		this.cookie = answer.headers.get('set-cookie').split(';')[0];
		return { Cookie: this.cookie, 'X-Usbpush-Csrf': (await answer.json()).csrf };
	}

	get memory() {
		return Number(fs.readFileSync(`/proc/${this.portal.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]) / 1024;
	}
}

export async function launch(args = []) {
	return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', ...args] });
}

export const DESKTOP = { viewport: { width: 1180, height: 860 } }, PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

/** A page that must not complain, nor ask anybody else. init: what it does before anything else. hasClock: its time is page.clock's, which goes on by itself until told otherwise. */
export async function openPage(browser, bed, { init, hasClock, ...options } = DESKTOP) {
	const context = await browser.newContext({ locale: 'en-GB', ...options });
	if (options.loggedIn !== false && bed.cookie) {
		const [name, value] = bed.cookie.split('=');
		await context.addCookies([{ name, value, url: bed.origin }]);
	}
	const page = await context.newPage();
	page.complaints = [];
	page.on('console', (message) => ['error', 'warning'].includes(message.type()) && page.complaints.push(message.text()));
	page.on('pageerror', (error) => page.complaints.push(String(error)));
	page.on('request', (request) => !request.url().startsWith(bed.origin) && page.complaints.push(`asks ${request.url()}`));
	if (init)
		await page.addInitScript(init);
	if (hasClock)
		await page.clock.install();
	await page.goto(bed.origin);
	return page;
}

/** Waits for the end of all animations that have one. */
const settle = (page) => until(() => page.evaluate(() => document.getAnimations().every((a) => a.effect.getTiming().iterations === Infinity || a.playState === 'finished')), 'the animations');

/** No page was left with something to complain about. */
export function checkComplaints(...pages) {
	for (const page of pages)
		assert.deepEqual(page.complaints, []);
}

export async function close(...pages) {
	await Promise.all(pages.map((page) => page.context().close()));
}

/** What axe-core has against the page as it is. */
export async function violations(page) {
	await settle(page);
	const cdp = await page.context().newCDPSession(page); // past the page's CSP, which lets no foreign script in
	await cdp.send('Runtime.evaluate', { expression: axeSource });
	const { result } = await cdp.send('Runtime.evaluate', { awaitPromise: true, returnByValue: true,
		expression: 'axe.run().then((r) => r.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`))' });
	return result.value;
}

export async function shoot(page, name, options = {}) {
	fs.mkdirSync(shots, { recursive: true });
	await settle(page);
	await page.screenshot({ path: path.join(shots, `${name}.png`), ...options });
}
