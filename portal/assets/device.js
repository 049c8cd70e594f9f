// One device as a card that moves through its states.

import { button, h, icon, reconcile, sentence, setText, span, toast } from '/dom.js';
import { post } from '/api.js';
import { openNaming } from '/dialogs.js';

const STATES = {
	SEEN: { word: 'Plugged in', color: 'yellow', step: 1 },
	BINDING: { word: 'Being bound', color: 'yellow', step: 1 },
	READY: { word: 'Bound', color: 'yellow', step: 2 },
	OFFERED: { word: 'Being attached', color: 'yellow', step: 3 },
	ATTACHED: { word: 'Attached', color: 'green', step: 4 },
	FAILED: { word: 'Failed', color: 'red', step: 0 },
	IGNORED: { word: 'Stays here', color: 'grey', step: 0 },
	GONE: { word: 'Unplugged', color: 'grey', step: 0 },
};

const UNPAIRED = { word: 'Waits for a VM', color: 'grey', step: 0 };
const BLOCKED = { word: 'Does not answer', color: 'red', step: 0 };
const BLOCKED_CURE = 'Other devices do not wait for it. If it stays so, unplug it; dmesg on the Pi says more.';
const ASKING = { word: 'Waits for your yes', color: 'yellow', step: 0 };

/** Whether it would be shared, were there a VM. */
export const waitsForPairing = (device) => device.state === 'IGNORED' && /not paired/.test(device.reason ?? '');

/** Its state as a word, a colour, and how far it is on the way. */
export const stateOf = (device) => (device.is_asking ? ASKING : waitsForPairing(device) ? UNPAIRED : STATES[device.state] ?? { word: device.state, color: 'grey', step: 0 });

/** What a person calls it. */
export function nameOf(device) {
	if (device.name)
		return device.name;
	const product = device.product || `USB device ${device.vid}:${device.pid}`;
	const maker = device.manufacturer;
	return maker && !product.toLowerCase().includes(maker.toLowerCase().split(' ')[0]) && !/^https?:/.test(maker) ? `${maker} ${product}` : product;
}

function iconOf(device) {
	const policy = device.policy ?? '';
	if (/hub/i.test(policy))
		return 'hub';
	if (/network|ethernet/i.test(policy))
		return 'network';
	if (/keyboard|HID|mouse/i.test(policy) || /keyboard|mouse/i.test(device.product))
		return 'keyboard';
	if (/storage|disk|mass/i.test(policy) || /disk|flash/i.test(device.product))
		return 'disk';
	if (device.vid === '303a' || device.vid === '2341' || device.vid === '2e8a')
		return 'chip';
	return device.state === 'IGNORED' ? 'usb' : 'serial';
}

async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
	} catch { // plain http: the old way
		const area = h('textarea', { 'aria-hidden': 'true', class: 'hidden' });
		area.value = text;
		document.body.append(area);
		area.select();
		document.execCommand('copy');
		area.remove();
	}
	toast(`${text} is copied`);
}

/** The button to copy what is written. */
export function copyButton(text, label) {
	return h('button', { type: 'button', class: 'copy', 'aria-label': label, title: label, onclick: () => copy(text) }, icon('copy'));
}

function changeNodes(element, device) {
	const nodes = device.state === 'ATTACHED' ? device.vm?.nodes ?? [] : [];
	reconcile(element, nodes, (node) => node, (node) => h('div', { class: 'node' }, h('code', {}, node), copyButton(node, `Copy ${node}`)), () => {});
}

/** What the kernel does not return from, in words. */
export const blockedText = (blocked) => `The Pi's kernel has not answered for ${span(blocked.since_ms)} (${blocked.step}).`;

function reasonOf(device, blocked) {
	if (blocked)
		return blockedText(blocked);
	if (device.state === 'FAILED')
		return sentence(device.error?.text ?? device.reason);
	if (device.state === 'ATTACHED')
		return device.vm?.nodes?.length ? '' : 'The VM has it, and made no device node: is its driver missing there?';
	if (waitsForPairing(device))
		return 'It goes to the VM as soon as this Pi is paired.';
	return sentence(device.state === 'IGNORED' ? (device.reason ?? '').replace(/^stays here: /, '') : device.reason);
}

function detailsOf(device) {
	const rows = [['Links on the VM', (device.vm?.links ?? []).join('\n')], ['Port on the VM', device.vm ? String(device.vm.port) : ''],
		['Way', device.transport === 'direct' ? 'direct: TCP, not in the SSH link' : ''],
		['Why', [device.policy, device.rule].filter(Boolean).join('\n')],
		['Timing', Object.entries({ ...device.steps_ms, ...device.vm?.steps_ms }).map(([k, v]) => `${k} ${Math.round(v)} ms`).join(', ')]];
	return rows.filter(([, text]) => text);
}

function act(card, verb, values) {
	return post(`devices/${encodeURIComponent(card.device.busid)}/${verb}`, values);
}

/** What the owner decides about it for good, and what is seldom done. */
function makeChoices(card) {
	const choice = (label, work) => button(label, work, { class: 'button small' });
	card.choices = {
		Name: choice('Name …', () => openNaming(card.device, (name) => act(card, 'name', { name }))),
		Reset: choice('Reset', async () => {
			await act(card, 'reset');
			toast(`Resetting ${nameOf(card.device)}`);
		}),
		'Always share': choice('Always share', () => act(card, 'share')),
		'Always keep here': choice('Always keep here', () => act(card, 'ignore')),
	};
	return h('div', { class: 'actions choices' }, ...Object.values(card.choices));
}

function changeChoices(card, mayChange) {
	const stays = card.device.state === 'IGNORED' && !waitsForPairing(card.device);
	const shown = { Name: !stays, Reset: true, 'Always share': stays, 'Always keep here': !stays };
	for (const [verb, element] of Object.entries(card.choices)) {
		element.hidden = !mayChange || !shown[verb] || card.device.state === 'GONE';
		element.setAttribute('aria-label', `${verb} ${nameOf(card.device)}`);
	}
}

function changeActions(card, mayChange) {
	const { state } = card.device;
	const canDetach = mayChange && state !== 'IGNORED' && state !== 'GONE';
	const canAttach = mayChange && (state === 'FAILED' || (state === 'IGNORED' && /detached|by hand/.test(card.device.reason ?? '')));
	card.attach.hidden = !canAttach;
	card.detach.hidden = !canDetach;
	setText(card.attach, state === 'FAILED' ? 'Try again' : 'Attach');
	card.yes.hidden = card.no.hidden = !mayChange || !card.device.is_asking;
	for (const [element, verb] of [[card.attach, card.attach.textContent], [card.detach, 'Detach'], [card.yes, 'Share'], [card.no, 'Keep']])
		element.setAttribute('aria-label', `${verb} ${nameOf(card.device)}`);
}

function changeDetails(card, mayChange) {
	const rows = detailsOf(card.device);
	changeChoices(card, mayChange);
	card.more.hidden = rows.length === 0 && !mayChange;
	reconcile(card.rows, rows, ([name]) => name, ([name]) => h('div', {}, h('dt', {}, name), h('dd')),
		(row, [, text]) => setText(row.lastElementChild, text));
}

/** A new card; changeCard() fills it. */
export function makeCard() {
	const card = { picture: h('span', { class: 'picture' }), name: h('h3'), state: h('p', { class: 'state' }),
		nodes: h('div', { class: 'nodes' }), reason: h('p', { class: 'reason' }), cure: h('p', { class: 'cure' }),
		track: h('div', { class: 'track', 'aria-hidden': 'true' }, h('i'), h('i'), h('i'), h('i')),
		identity: h('p', { class: 'identity' }), rows: h('dl') };
	card.attach = button('Attach', () => act(card, 'attach'), { class: 'button small primary' });
	card.detach = button('Detach', () => act(card, 'detach'), { class: 'button small' });
	card.yes = button('Share it', () => act(card, 'answer', { yes: true }), { class: 'button small primary' });
	card.no = button('Not now', () => act(card, 'answer', { yes: false }), { class: 'button small' });
	card.more = h('details', { class: 'more' }, h('summary', {}, 'Details'), card.rows, makeChoices(card));
	const element = h('li', { class: 'card' }, h('div', { class: 'card-head' }, card.picture,
		h('div', { class: 'card-title' }, card.state, card.name)), card.identity, card.track, card.nodes, card.reason, card.cure,
	h('div', { class: 'card-foot' }, card.more, h('div', { class: 'actions' }, card.yes, card.no, card.attach, card.detach)));
	element.card = card;
	return element;
}

/** Brings a card into line with its device. blocked: the write for it from which the Pi's kernel has not returned, if there is one. */
export function changeCard(element, device, mayChange, blocked) {
	const { card } = element, state = blocked ? BLOCKED : stateOf(device), was = card.device?.state;
	card.device = device;
	element.dataset.color = state.color;
	if (was && was !== device.state) {
		element.classList.remove('changed');
		void element.offsetWidth; // the animation begins anew
		element.classList.add('changed');
	}
	const picture = iconOf(device);
	if (card.picture.dataset.icon !== picture) {
		card.picture.replaceChildren(icon(picture));
		card.picture.dataset.icon = picture;
	}
	setText(card.name, nameOf(device));
	setText(card.state, state.word);
	reconcile(card.identity, [`${device.vid}:${device.pid}`, device.serial, `socket ${device.busid}`].filter(Boolean), (text) => text, (text) => h('span', {}, text), () => {});
	changeNodes(card.nodes, device);
	setText(card.reason, reasonOf(device, blocked));
	setText(card.cure, blocked ? BLOCKED_CURE : device.state === 'FAILED' ? sentence(device.error?.cure) : '');
	card.track.hidden = state.step === 0 || state.step === 4;
	[...card.track.children].forEach((bar, i) => { bar.className = i < state.step ? 'on' : i === state.step ? 'next' : ''; });
	changeDetails(card, mayChange);
	changeActions(card, mayChange);
}
