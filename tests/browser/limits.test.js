// The portal under clients that mean no good: others are served meanwhile, and it stays small. Against the build that people get, where there is one.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Bed, CODE, PASSWORD, until } from './bed.js';

const program = process.env.USBPUSH_PORTAL;
const isRelease = program !== undefined && fs.existsSync(program);
const MEMORY_MB = 20, SERVED_MS = 2000;

let bed, headers, sockets;

function connect() {
	const socket = net.connect(bed.port, '127.0.0.1');
	socket.on('error', () => {});
	sockets.push(socket);
	return new Promise((resolve) => socket.on('connect', () => resolve(socket)));
}

/** Somebody else is served, soon, on a connection of its own. */
async function checkServed() {
	const start = performance.now();
	const status = await new Promise((resolve, reject) => {
		http.get(`${bed.origin}/api/v1/status`, { headers, agent: false }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode))).on('error', reject);
	});
	assert.equal(status, 200);
	assert.ok(performance.now() - start < SERVED_MS, `served after ${(performance.now() - start).toFixed(0)} ms`);
}

function checkMemory() {
	if (isRelease)
		assert.ok(bed.memory < MEMORY_MB, `${bed.memory.toFixed(1)} MB`);
}

/** n requests over one connection, some at a time; how many were answered with 200. */
async function hammer(n) {
	const socket = await connect(), mark = 'HTTP/1.1 200 OK', window = 64;
	const request = `GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${headers.Cookie}\r\n\r\n`;
	let sent = 0, seen = 0, rest = '';
	const send = () => {
		const more = Math.min(n - sent, window - (sent - seen));
		sent += more;
		socket.write(request.repeat(more));
	};
	socket.setEncoding('latin1');
	return new Promise((resolve) => {
		socket.on('data', (data) => {
			rest += data;
			seen += rest.split(mark).length - 1;
			rest = rest.slice(1 - mark.length);
			if (seen >= n)
				resolve(seen);
			else if (sent - seen <= window / 2)
				send();
		});
		socket.on('close', () => resolve(seen));
		send();
	});
}

describe('limits', () => {
	beforeEach(async () => {
		sockets = [];
		bed = await Bed.start(isRelease ? { program } : {});
		headers = await bed.claim();
	});
	afterEach(async () => {
		for (const socket of sockets)
			socket.destroy();
		await bed.stop();
	});

	it('serves others beside 200 connections that say nothing, and beside 200 that say half a request', async () => {
		const before = bed.exporter.asked.length;
		await Promise.all(Array.from({ length: 200 }, connect));
		await checkServed();
		for (const socket of await Promise.all(Array.from({ length: 200 }, connect)))
			socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-');
		await checkServed();
		checkMemory();
		assert.ok(bed.exporter.asked.length - before <= 10, `the exporter was asked ${bed.exporter.asked.length - before} times`);
	});

	it('serves others beside 60 that send their headers a byte a second, and closes those', async () => {
		const slow = await Promise.all(Array.from({ length: 60 }, connect)), before = bed.exporter.asked.length;
		let closed = 0;
		for (const socket of slow) {
			socket.on('close', () => { closed++; });
			socket.write('GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ');
		}
		const start = performance.now(), timer = setInterval(() => slow.forEach((socket) => socket.destroyed || socket.write('x')), 1000);
		await until(async () => {
			await checkServed();
			await new Promise((resolve) => { setTimeout(resolve, 500); });
			return closed === slow.length;
		}, 'the slow ones are closed', 20000);
		clearInterval(timer);
		checkMemory();
		const asked = bed.exporter.asked.length - before, seconds = (performance.now() - start) / 1000;
		assert.ok(asked < 2 * seconds + 10, `the exporter was asked ${asked} times in ${seconds.toFixed(1)} s`);
	});

	it('takes no body of 10 MB, announced or not', async () => {
		const body = 'x'.repeat(10 * 1024 * 1024);
		for (let i = 0; i < 2; i++) {
			const socket = await connect();
			let answer = '';
			socket.on('data', (data) => { answer += data; });
			socket.write(`POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`);
			socket.write(body);
			await until(() => answer.startsWith('HTTP/1.1 413'), `413, not ${answer.slice(0, 80)}`);
		}
		const socket = await connect();
		let answer = '';
		socket.on('data', (data) => { answer += data; });
		socket.write('POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n');
		for (let i = 0; i < 10; i++)
			socket.write(`100000\r\n${body.slice(0, 0x100000)}\r\n`);
		socket.write('0\r\n\r\n');
		await checkServed();
		await until(() => answer.startsWith('HTTP/1.1 413'), `413, not ${answer.slice(0, 80)}`);
		checkMemory();
	});

	it('answers 100,000 requests, and asks the exporter for a few', async () => {
		const n = isRelease ? 100000 : 5000;
		await hammer(500);
		const before = bed.exporter.asked.length, memory = bed.memory, start = performance.now();
		assert.equal(await hammer(n), n);
		const seconds = (performance.now() - start) / 1000;
		await checkServed();
		checkMemory();
		assert.ok(bed.exporter.asked.length - before < 2 * seconds + 10, `the exporter was asked ${bed.exporter.asked.length - before} times in ${seconds.toFixed(1)} s`);
		if (isRelease)
			assert.ok(bed.memory - memory < 2, `grew by ${(bed.memory - memory).toFixed(1)} MB`);
		console.log(`limits: ${(n / seconds).toFixed(0)} requests/s, ${bed.memory.toFixed(1)} MB`);
	});

	it('lets 32 pages watch, no more, and makes room when one goes', async () => {
		const watch = async () => {
			const socket = await connect();
			socket.write(`GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${headers.Cookie}\r\n\r\n`);
			const line = await new Promise((resolve) => socket.once('data', (data) => resolve(String(data).split('\r\n')[0])));
			return [socket, line];
		};
		const first = [];
		for (let i = 0; i < 32; i++)
			first.push(await watch());
		assert.ok(first.every(([, line]) => line === 'HTTP/1.1 200 OK'));
		assert.equal((await watch())[1], 'HTTP/1.1 503 Service Unavailable');
		await checkServed();
		first[0][0].destroy();
		await until(async () => (await watch())[1] === 'HTTP/1.1 200 OK', 'there is room again');
	});

	it('does not keep anybody waiting for the password', async () => {
		const logins = Array.from({ length: 12 }, (_, i) => bed.post('login', { password: `guess ${i}` }).then((r) => r.status));
		await checkServed();
		const statuses = await Promise.all(logins);
		assert.ok(statuses.every((s) => [401, 429, 503].includes(s)), statuses);
		assert.ok(statuses.filter((s) => s === 401).length <= 5, statuses);
		checkMemory();
	});

	it('survives what is no HTTP', async () => {
		for (const bad of ['\0\0\0\0', 'GET\r\n\r\n', `GET /${'a'.repeat(20000)} HTTP/1.1\r\n\r\n`, `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(4000)}\r\n`, 'GET / HTTP/9.9\r\n\r\n',
			'POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n', 'POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n',
			'GET /api/v1/devices/%00%ff/attach HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 'GET / HTTP/1.1\r\nHost: \r\n\r\n', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'])
			(await connect()).end(bad, 'latin1');
		await checkServed();
		assert.equal((await bed.post('claim', { code: CODE, password: PASSWORD })).status, 409);
	});

	it('goes at once when it is told to, with everybody in mid-sentence', async () => {
		bed.exporter.answers.detach = () => new Promise(() => {});
		await Promise.all(Array.from({ length: 20 }, connect));
		const pending = bed.post('devices/1-1/detach', {}, headers).then((r) => r.status, () => 0);
		const stream = await connect();
		stream.write(`GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${headers.Cookie}\r\n\r\n`);
		await until(() => bed.exporter.asked.some((r) => r.request === 'detach'), 'the exporter is asked');
		bed.portal.kill('SIGTERM');
		assert.equal(await Promise.race([bed.exited, new Promise((r) => setTimeout(r, 3000, 'still there'))]), 0);
		assert.ok([0, 503].includes(await pending));
	});
});
