// The page: who is here, what is shown, and the stream that keeps it true.

import { button, h, icon, reconcile, sentence, setText, span, toast } from '/dom.js';
import { get, keep, post, whenRefused } from '/api.js';
import { blockedText, changeCard, makeCard, nameOf, stateOf, waitsForPairing } from '/device.js';
import { command, field, form, openPairing, openTest, openUnpair } from '/dialogs.js';

// known: the newest status that the exporter told, and when. old: null while the page follows; else since when it does not, the title of that, and whether it says so.
const page = Object.assign(new EventTarget(), { session: null, snapshot: null, received: 0, known: null, old: null });
const view = document.getElementById('view');
const live = document.getElementById('live');
let parts = null, wasIn = new Map();

const mayChange = () => page.session?.authenticated === true;

const SILENT = 'The portal does not answer';

// ---- the headline: does it work? ----

const SERIAL_PENDING = ['SEEN', 'BINDING', 'READY', 'OFFERED'];
const blockedOf = (status) => status?.blocked ?? [];
const plural = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;

function troubleOf(snapshot) {
	const { exporter, status } = snapshot, link = status?.link;
	if (exporter || !status)
		return { color: 'red', text: 'The exporter does not answer', more: sentence(exporter?.text), cure: exporter?.cure };
	if (status.problem)
		return { color: 'red', text: sentence(status.problem.text).replace(/\.$/, ''), more: '', cure: status.problem.cure };
	if (link.state === 'UNPAIRED')
		return { color: 'grey', text: 'Not paired with a VM yet', more: 'Pair this Pi once. From then on, what you plug in appears there.' };
	if (link.state === 'REFUSED')
		return { color: 'red', text: 'The link waits for you', more: sentence(link.error?.text), cure: link.error?.cure };
	if (link.state === 'DOWN')
		return { color: 'red', text: `No connection to ${link.host}`, more: sentence(link.error?.text), cure: link.error?.cure };
	if (link.state !== 'UP')
		return { color: 'yellow', text: `Connecting to ${link.vm || link.host} …`, more: sentence(link.error?.text) };
	return null;
}

function headlineOf(snapshot) {
	const trouble = troubleOf(snapshot);
	if (trouble)
		return trouble;
	const { devices, link } = snapshot.status, vm = link.vm || link.host;
	const n = (test) => devices.filter(test).length;
	const attached = n((d) => d.state === 'ATTACHED'), failed = n((d) => d.state === 'FAILED'), pending = n((d) => SERIAL_PENDING.includes(d.state));
	if (blockedOf(snapshot.status).length)
		return { color: 'red', text: `The Pi's kernel does not answer for ${plural(blockedOf(snapshot.status).length, 'device')}`, more: 'Below it says since when. The others do not wait.' };
	if (failed)
		return { color: 'red', text: `${plural(failed, 'device')} could not be attached`, more: attached ? `${plural(attached, 'other')} on ${vm}.` : 'Its card below says why.' };
	if (pending)
		return { color: 'yellow', text: `${plural(pending, 'device')} on the way to ${vm}`, more: attached ? `${attached} there already.` : '' };
	if (attached)
		return { color: 'green', text: `It works: ${plural(attached, 'device')} on ${vm}`, more: '' };
	return { color: 'green', text: `Ready: ${vm} is connected`, more: 'Plug a USB serial device into this Pi.' };
}

function linkLine(link) {
	if (!link || link.state === 'UNPAIRED')
		return '';
	const where = `${link.user}@${link.host}${link.port === 22 ? '' : `, port ${link.port}`}`;
	const age = (page.old?.since ?? Date.now()) - page.received, next = link.next_try_ms == null ? null : link.next_try_ms - age;
	return [where, link.state === 'UP' && link.rtt_ms != null ? `round trip ${link.rtt_ms.toFixed(1)} ms` : '',
		link.state === 'UP' ? `up for ${span(link.since_ms + age)}` : '', next == null ? '' : next > 0 ? `next try in ${Math.ceil(next / 1000)} s` : 'trying now'].filter(Boolean).join(' · ');
}

/** What is of before has no colour: none of it says that it is so now. */
function showAge() {
	const isAway = !page.snapshot.status;
	parts.stale.hidden = !page.old?.isStale;
	parts.hero.classList.toggle('before', page.old !== null);
	for (const element of [parts.devices, parts.stayingSection, parts.vmsSection])
		element.classList.toggle('before', page.old !== null || isAway);
	parts.before.hidden = !isAway || !page.known;
	setText(parts.before, page.known ? `As it was when the exporter last answered, at ${clockOf(page.known.time)}.` : '');
}

function showHeadline() {
	const snapshot = page.snapshot, headline = headlineOf(snapshot), link = snapshot.status?.link, known = page.known?.status.link;
	const isUp = link?.state === 'UP' && !snapshot.exporter, isPaired = link && link.state !== 'UNPAIRED';
	parts.hero.dataset.color = headline.color;
	parts.cable.dataset.state = page.old ? 'none' : isUp ? 'up' : isPaired && headline.color === 'yellow' ? 'connecting' : isPaired ? 'down' : 'none';
	setText(parts.headline, headline.text);
	setText(parts.more, headline.more ?? '');
	setText(parts.cure, sentence(headline.cure));
	setText(parts.link, linkLine(link));
	setText(parts.vm, known && known.state !== 'UNPAIRED' ? known.vm || known.host : 'your VM');
	document.title = `${page.old?.title ?? headline.text} – usbpush`;
	showAge();
	parts.pair.hidden = !mayChange() || isPaired !== false;
	parts.test.hidden = parts.unpair.hidden = !mayChange() || !isPaired;
	parts.all.hidden = !mayChange() || !isUp || !snapshot.status.devices.some((d) => d.state === 'FAILED' || /by hand/.test(d.reason ?? ''));
}

// ---- devices, VMs, events ----

const numbersOf = (device) => device.busid.split(/\D/).map(Number);

/** In the order of the sockets: 1-1.2 before 1-1.10. */
function byPlace(a, b) {
	const is = numbersOf(a), other = numbersOf(b);
	for (let i = 0; i < is.length && i < other.length; i++)
		if (is[i] !== other[i])
			return is[i] - other[i];
	return is.length - other.length;
}

/** While the exporter is away: as it was. */
function showDevices() {
	const status = page.known?.status, devices = status?.devices ?? [];
	const isShared = (d) => d.state !== 'IGNORED' || waitsForPairing(d) || d.is_asking;
	const shared = devices.filter(isShared).sort(byPlace);
	const staying = devices.filter((d) => !isShared(d)).sort(byPlace);
	const blocked = blockedOf(status), gone = blocked.filter((b) => !devices.some((d) => d.busid === b.name));
	const change = (element, device) => changeCard(element, device, mayChange(), blocked.find((b) => b.name === device.busid));
	reconcile(parts.blocked, gone, (b) => gone.indexOf(b), () => h('p'), (element, b) => setText(element, `${b.name} is unplugged. ${blockedText(b)}`));
	parts.blocked.hidden = gone.length === 0;
	reconcile(parts.cards, shared, (d) => d.busid, makeCard, change);
	reconcile(parts.staying, staying, (d) => d.busid, makeCard, change);
	parts.devices.hidden = !status;
	parts.empty.hidden = shared.length > 0;
	parts.stayingSection.hidden = staying.length === 0;
	setText(parts.count, shared.length ? String(shared.length) : '');
}

function showVms() {
	const vms = page.known?.status.vms ?? [];
	parts.vmsSection.hidden = !mayChange() || vms.length === 0;
	reconcile(parts.vms, vms, (vm) => `${vm.id} ${vm.name}`, () => h('li', { class: 'row' }, icon('server'), h('span', { class: 'row-main' }, h('strong'), h('span', { class: 'hint' })), h('span', { class: 'chip' })),
		(row, vm) => {
			setText(row.querySelector('strong'), vm.name || vm.host);
			setText(row.querySelector('.hint'), `${vm.address}${vm.port === 22 ? '' : ` port ${vm.port}`} · ${vm.fingerprint ?? ''}`);
			setText(row.querySelector('.chip'), vm.is_paired ? 'paired' : 'found');
			row.dataset.color = vm.is_paired ? 'green' : 'grey';
		});
}

/** The time of day; without Intl, which takes a browser longer to wake than the page to build. */
const clockOf = (date) => date.toTimeString().slice(0, 8);

/** The time of day, and the whole of it. */
function timeOf(text) {
	const date = new Date(text), time = clockOf(date);
	return h('time', { datetime: text, title: `${date.toDateString()} ${time}` }, time);
}

/** seq is counted anew by each exporter. */
const keyOfEvent = (event) => `${event.time} ${event.seq}`;

const EVENT_COLORS = { UP: 'green', DOWN: 'red', REFUSED: 'red', PAIRED: 'green', UNPAIRED: 'grey' };

function showEvents() {
	const events = [...page.snapshot.events].reverse().slice(0, 12);
	parts.events.hidden = events.length === 0;
	reconcile(parts.eventList, events, keyOfEvent, (e) => h('li', { class: 'event' }, timeOf(e.time),
		h('i', { 'aria-hidden': 'true' }), h('span', { class: 'event-what' }, e.kind === 'device' ? e.busid : e.kind), h('span', { class: 'event-text' }, sentence(e.text) || e.state)),
	(row, e) => { row.dataset.color = e.kind === 'device' ? stateOf(e).color : EVENT_COLORS[e.state] ?? 'yellow'; });
}

/** Says aloud what a person would want to hear: a device that came to rest, or left. Of an exporter that is away nothing is known. */
function announce() {
	if (!page.snapshot.status)
		return;
	const is = new Map(page.snapshot.status.devices.map((d) => [d.busid, d]));
	const words = [];
	for (const [busid, device] of is) {
		const was = wasIn.get(busid);
		if (was?.state !== device.state && ['ATTACHED', 'FAILED'].includes(device.state))
			words.push(device.state === 'ATTACHED' ? `${nameOf(device)} is attached as ${device.vm?.nodes?.[0] ?? 'a device without node'}` : `${nameOf(device)} failed: ${device.error?.text}`);
	}
	for (const [busid, device] of wasIn)
		if (!is.has(busid))
			words.push(`${nameOf(device)} was unplugged`);
	if (words.length && wasIn.size + page.announced > 0)
		setText(live, words.join('. '));
	page.announced = 1;
	wasIn = is;
}

function show() {
	if (!parts)
		buildStatus();
	showHeadline();
	showDevices();
	showVms();
	showEvents();
	announce();
}

// ---- the three views ----

function setView(...children) {
	parts = null;
	view.replaceChildren(...children);
	view.removeAttribute('aria-busy');
}

function section(title, ...content) {
	const id = `h-${title.toLowerCase().replace(/\W+/g, '-')}`;
	return h('section', { 'aria-labelledby': id }, h('h2', { id }, title), ...content);
}

function buildStatus() {
	const p = { headline: h('h1', { 'aria-live': 'polite' }), more: h('p', { class: 'more-line' }), cure: h('p', { class: 'cure' }), link: h('p', { class: 'link-line' }),
		vm: h('span'), cards: h('ul', { class: 'cards' }), staying: h('ul', { class: 'cards quiet' }), eventList: h('ol', { class: 'events' }), vms: h('ul', { class: 'rows' }), before: h('p', { class: 'hint', hidden: true }), count: h('span', { class: 'count' }),
		blocked: h('div', { class: 'stale' }), stale: h('div', { class: 'stale', role: 'status', hidden: true }, `${SILENT}. What you see may be old; trying again …`) };
	p.cable = h('div', { class: 'cable', 'aria-hidden': 'true' }, h('span', { class: 'end' }, icon('board'), h('span', {}, page.session.name)), h('span', { class: 'wire' }, h('i'), h('i'), h('i')),
		h('span', { class: 'end' }, icon('server'), p.vm));
	p.pair = button('Set up pairing', () => openPairing(page), { class: 'button primary' });
	p.test = button('Test connection', () => openTest(page));
	p.all = button('Attach all', async () => { await post('attach-all'); toast('All devices are on their way'); });
	p.unpair = button('Disconnect', () => openUnpair(page), { class: 'button quiet' });
	p.hero = h('section', { class: 'hero', 'aria-label': 'State of the link' }, h('div', { class: 'hero-text' }, p.headline, p.more, p.cure, p.link, h('div', { class: 'actions' }, p.pair, p.test, p.all, p.unpair)), p.cable);
	p.empty = h('div', { class: 'empty' }, icon('usb'), h('p', {}, h('strong', {}, 'Nothing to share is plugged in.')), h('p', {}, 'Plug an ESP32, Arduino, FTDI or any other USB serial device into this Pi: its card appears here, and its node on the VM.'));
	p.stayingSection = section('Staying with this Pi', p.staying);
	p.vmsSection = section('VMs in this network', p.vms);
	p.events = section('Last events', p.eventList);
	p.devices = section('Devices', p.before, p.empty, p.cards);
	p.devices.querySelector('h2').append(p.count);
	setView(p.hero, p.stale, p.blocked, p.devices, p.stayingSection, p.vmsSection, p.events);
	parts = p;
}

function gate(title, text, ...content) {
	document.title = `${title} – usbpush`;
	setView(h('section', { class: 'gate' }, h('img', { src: '/icon.svg', alt: '', width: 56, height: 56 }), h('h1', {}, title), text ? h('p', {}, text) : null, ...content));
}

function showClaim() {
	const fields = [field('Setup code', { name: 'code', class: 'code', autocomplete: 'off', placeholder: 'ABCD-EFGH', required: true }),
		field('New password', { name: 'password', type: 'password', autocomplete: 'new-password', minlength: 8, required: true }, 'At least 8 characters. It is for this page alone.')];
	gate('Make this portal yours', 'Nobody owns it yet. Run this on the Pi; it prints a code:', command('sudo usbpush setup-code'),
		form(fields, 'Claim it', async (values) => { await post('claim', values); await start(); }));
}

function showLogin() {
	const fields = [field('Password', { name: 'password', type: 'password', autocomplete: 'current-password', required: true })];
	gate(`Log in to ${page.session.name}`, null, form(fields, 'Log in', async (values) => { await post('login', values); await start(); }),
		h('details', { class: 'more' }, h('summary', {}, 'Forgotten?'), h('p', {}, 'On the Pi, this takes the password away and prints a code to set a new one:'), command('sudo usbpush reset-password')));
	view.querySelector('input').focus();
}

function showAccount() {
	const { session } = page, nav = document.getElementById('account');
	setText(document.getElementById('machine'), session.name);
	setText(document.getElementById('version'), `usbpush ${session.software}`);
	nav.replaceChildren(session.authenticated ? button('Log out', async () => { await post('logout'); await start(); }, { class: 'button quiet small' }) :
		session.claimed && session.public_status ? button('Log in', () => { leave(); showLogin(); }, { class: 'button small' }) : '');
}

// ---- the stream ----

const STALE_MS = 1500; // a portal that is restarted is back by then
const AGAIN_MS = 1500;
const SILENCE_MS = 13000; // a page that follows is told something every 2 s, every 5 s where the exporter hangs. Of a Pi without power no error comes

const HIDDEN_MS = 30000; // a page in the background gives its connection back: a browser has six for a Pi, whatever it has open

let stream = null, round = 0;
let following = 'nothing'; // 'nothing' while a form is shown, 'stream', or 'later': when it is looked at again
const timers = {};

function arm(name, work, ms) {
	clearTimeout(timers[name]);
	timers[name] = setTimeout(work, ms);
}

function disarm(...names) {
	for (const name of names) {
		clearTimeout(timers[name]);
		delete timers[name];
	}
}

function closeStream() {
	stream?.close();
	stream = null;
	disarm('silence', 'again');
}

/** Follows no longer, nor tries to. */
function leave() {
	round++;
	following = 'nothing';
	closeStream();
	disarm('stale');
}

function showStale() {
	page.old = { since: page.old?.since ?? Date.now(), title: SILENT, isStale: true };
	if (parts)
		showHeadline();
}

/** It may be a moment, and it may be the end: the first doubt counts, until something is told. */
function doubt() {
	if (!timers.stale)
		arm('stale', showStale, STALE_MS);
}

/** What is so now, or was so age_ms ago. */
function take(snapshot, age_ms = 0) {
	page.snapshot = snapshot;
	page.received = Date.now() - age_ms;
	if (snapshot.status)
		page.known = { status: snapshot.status, time: new Date(page.received) };
	show();
}

function onSilence() {
	showStale();
	start();
}

function onMessage(message) {
	const last = page.snapshot?.events.at(-1);
	disarm('stale');
	arm('silence', onSilence, SILENCE_MS);
	page.old = null;
	take(JSON.parse(message.data));
	page.dispatchEvent(new Event('change'));
	const newest = page.snapshot.events.at(-1);
	if (newest && (!last || keyOfEvent(newest) !== keyOfEvent(last)))
		page.dispatchEvent(new CustomEvent('event', { detail: newest }));
}

/** A stream that is open to all comes back whoever is here: the Pi may have started anew and know nobody, or he has logged in anew beside this page. */
async function lookWhoIsHere() {
	const mine = round, session = await get('session').catch(() => null); // the stream tells if the portal has gone again
	if (!session || mine !== round || JSON.stringify(session) === JSON.stringify(page.session))
		return;
	page.session = session;
	enter();
}

/** What is shown is of before, until the page is looked at again; so is its title, which is seen even then. */
function rest() {
	delete timers.hidden;
	if (following !== 'stream')
		return;
	leave();
	following = 'later';
	page.old ??= { since: Date.now(), title: page.session.name, isStale: false };
	if (parts)
		showHeadline();
}

function onVisibility() {
	const isHidden = document.visibilityState === 'hidden';
	if (isHidden && !timers.hidden)
		arm('hidden', rest, HIDDEN_MS);
	if (isHidden)
		return;
	disarm('hidden');
	if (following === 'later') {
		doubt();
		start();
	}
}

function openStream() {
	let isBroken = false;
	onVisibility(); // it may have been opened in the background
	closeStream();
	stream = new EventSource('/api/v1/stream');
	stream.onmessage = onMessage;
	stream.onopen = () => {
		if (isBroken)
			lookWhoIsHere();
		isBroken = false;
	};
	stream.onerror = () => {
		isBroken = true;
		doubt();
		if (stream?.readyState === EventSource.CLOSED)
			arm('again', start, 1000);
	};
	arm('silence', onSilence, SILENCE_MS);
}

/** Asks who is here, and goes on from there. A doubt stays until the stream has told something. */
async function start() {
	const mine = ++round;
	let session;
	following = 'stream';
	closeStream();
	try {
		session = await get('session');
	} catch {
		if (mine !== round)
			return;
		showStale();
		arm('again', start, AGAIN_MS);
		return;
	}
	if (mine !== round)
		return; // somebody began anew meanwhile
	page.session = session;
	enter();
}

function enter() {
	showAccount();
	if (page.session.authenticated || (page.session.claimed && page.session.public_status)) {
		following = 'stream';
		openStream();
		return;
	}
	leave();
	if (page.session.claimed)
		showLogin();
	else
		showClaim();
}

/** With what came with the page. Who came by a link of another site has not shown his cookie yet: he asks again before he is asked for a password. */
function begin(first) {
	page.session = first.session;
	keep(first.session);
	if (first.snapshot)
		take(first.snapshot, first.age_ms);
	if (first.session.authenticated || !first.session.claimed)
		enter();
	else
		start();
}

whenRefused(async (code) => {
	if (code === 'csrf' || page.session.authenticated) // else the page knows already
		await start();
});
document.addEventListener('visibilitychange', onVisibility);
setInterval(() => parts && page.snapshot && showHeadline(), 1000);
begin(JSON.parse(document.getElementById('state').textContent));
