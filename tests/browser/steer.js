// A Chromium that does what another program says: one JSON array a line, ["verb", argument...], and one JSON answer a line, {"is": ...} or {"error": "..."}.
//
//   node steer.js ORIGIN PORT     ORIGIN's name leads to PORT of this machine
//
// The pages have names; those that are given a look stay open until the end of the input. tests/lab/browser.py is at the other end.

import readline from 'node:readline';
import { DESKTOP, PHONE, launch, openPage, shoot, violations } from './bed.js';

const [origin, port] = process.argv.slice(2);
const LOOKS = { desktop: DESKTOP, phone: PHONE, 'phone-dark': { ...PHONE, colorScheme: 'dark' } };
const pages = {};
const browser = await launch([`--host-resolver-rules=MAP ${new URL(origin).host} 127.0.0.1:${port}`]);
const heading = (name, text) => pages[name].getByRole('heading', { level: 1, name: text });

/** Notes what the page's heading says and each device's card looks like from here on, each change with its time. */
function watch() {
	window.moments = [];
	let before = '';
	const look = () => {
		const cards = [...document.querySelectorAll('.card')].map((card) => `${card.dataset.color} ${card.innerText.replace(/\s+/g, ' ')}`);
		const now = [document.querySelector('h1')?.textContent, ...cards].join('\n');
		if (now !== before)
			window.moments.push({ t: (performance.timeOrigin + performance.now()) / 1000, text: now });
		before = now;
	};
	look();
	new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
}

const verbs = {
	async open(name, look, from) {
		const cookies = from ? await pages[from].context().cookies() : [];
		const bed = { origin, cookie: cookies.map((c) => `${c.name}=${c.value}`)[0] };
		pages[name] = await openPage(browser, bed, LOOKS[look]);
	},
	click: (name, text) => pages[name].getByRole('button', { name: text, exact: true }).last().click(),
	unfold: (name, text) => pages[name].getByText(text, { exact: true }).first().click(),
	fill: (name, label, text) => pages[name].getByLabel(label).fill(text),
	heading: (name, text, seconds) => heading(name, text).waitFor({ timeout: seconds * 1000 }),
	text: (name) => pages[name].locator('body').innerText(),
	shoot: (name, file) => shoot(pages[name], file),
	violations: (name) => violations(pages[name]),
	complaints: (name) => pages[name].complaints,
	watch: (name) => pages[name].evaluate(watch),
	moments: (name) => pages[name].evaluate(() => window.moments),
	focus: (name, label) => pages[name].getByRole('button', { name: label }).focus(),
	place: (name) => pages[name].evaluate(() => ({ focus: document.activeElement.getAttribute('aria-label'), scroll: scrollY, loads: performance.getEntriesByType('navigation').length, open: document.querySelectorAll('details[open]').length })),
	scroll: (name, y) => pages[name].evaluate((to) => scrollTo(0, to), y),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
	const [verb, ...args] = JSON.parse(line);
	try {
		process.stdout.write(`${JSON.stringify({ is: await verbs[verb](...args) ?? null })}\n`);
	} catch (error) {
		process.stdout.write(`${JSON.stringify({ error: `${verb} ${args.join(' ')}: ${error.message}` })}\n`);
	}
}
await browser.close();
