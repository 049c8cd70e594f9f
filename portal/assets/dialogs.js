// What opens above the page: pairing, the test of the link, and the question before unpairing.

import { button, h, icon, reconcile, sentence, setText, toast } from '/dom.js';
import { copyButton } from '/device.js';
import { get, post } from '/api.js';

/** Opens a dialog; it is gone when closed. onclose is called then. */
function open(title, content, onclose = () => {}) {
	const heading = h('h2', { id: 'dialog-title' }, title);
	const close = h('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('cross'));
	const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, h('header', {}, heading, close), content);
	dialog.addEventListener('close', () => {
		onclose();
		dialog.remove();
	});
	dialog.addEventListener('click', (event) => {
		if (event.target === dialog)
			dialog.close();
	});
	document.body.append(dialog);
	dialog.showModal();
	return dialog;
}

/** A command to type on the other machine. */
export function command(text) {
	return h('div', { class: 'command' }, h('code', {}, text), copyButton(text, `Copy ${text}`));
}

/** A labelled input; its value is what to ask for. */
export function field(label, attributes, hint) {
	const id = `field-${attributes.name}`;
	const input = h('input', { id, 'aria-describedby': hint ? `${id}-hint` : null, autocapitalize: 'off', spellcheck: 'false', ...attributes });
	return { input, element: h('div', { class: 'field' }, h('label', { for: id }, label), input, hint ? h('p', { class: 'hint', id: `${id}-hint` }, hint) : null) };
}

/** A form that says beside its button what went wrong. */
export function form(fields, label, work) {
	const error = h('div', { class: 'form-error', role: 'alert' });
	const submit = h('button', { class: 'button primary', type: 'submit' }, label);
	const element = h('form', { novalidate: true }, fields.map((f) => f.element), error, submit);
	element.addEventListener('submit', async (event) => {
		event.preventDefault();
		if (submit.getAttribute('aria-busy') === 'true')
			return;
		submit.setAttribute('aria-busy', 'true');
		error.replaceChildren();
		try {
			await work(Object.fromEntries(fields.map((f) => [f.input.name, f.input.value])));
		} catch (problem) {
			error.replaceChildren(h('p', {}, sentence(problem.message)), ...(problem.cure ? [h('p', { class: 'cure' }, sentence(problem.cure))] : []));
		} finally {
			submit.removeAttribute('aria-busy');
		}
	});
	return element;
}

// ---- a device's name ----

/** Asks for a name for the device and gives it to take(). */
export function openNaming(device, take) {
	const name = field('Its name', { name: 'name', required: true, maxlength: 48, value: device.name ?? '', placeholder: 'bench' },
		'On the VM /dev/usbpush/NAME leads to it, in any socket. Letters, digits, dots, dashes.');
	const dialog = open('Name the device', form([name], 'Name it', async (values) => {
		const answer = await take(values.name.trim());
		dialog.close();
		toast(answer.loader ? `It is ${values.name.trim()}. To keep the name in its boot loader: usbpush name ${device.busid} ${values.name.trim()} --also ${answer.loader}` : `It is ${values.name.trim()}`);
	}));
	name.input.focus();
}

// ---- the test of the link ----

const MARKS = { done: 'check', failed: 'cross', open: 'dot' };

function showSteps(list, steps, isRunning) {
	reconcile(list, steps ?? [], (step) => step.name, () => h('li', {}, h('span', { class: 'mark' }), h('span', { class: 'step' }), h('span', { class: 'ms' })),
		(row, step) => {
			const isNext = isRunning && step.state === 'open' && (steps.find((s) => s.state !== 'done') === step);
			row.dataset.state = isNext ? 'running' : step.state;
			if (row.firstChild.dataset.mark !== step.state) {
				row.firstChild.replaceChildren(icon(MARKS[step.state] ?? 'dot'));
				row.firstChild.dataset.mark = step.state;
			}
			setText(row.children[1], step.text);
			const before = steps[steps.indexOf(step) - 1]?.ms ?? 0; // the exporter counts from the try's start
			setText(row.children[2], step.ms == null ? '' : `${Math.max(step.ms - before, 0.1).toFixed(1)} ms`);
		});
}

/** Test Connection; page has the newest snapshot and tells of newer ones. */
export function openTest(page) {
	const list = h('ol', { class: 'steps' }), verdict = h('div', { class: 'verdict', role: 'status' });
	let isRunning = false;
	const look = () => isRunning && showSteps(list, page.snapshot?.steps, true);
	const run = async () => {
		isRunning = true;
		setText(verdict, 'Going the way to the VM, step by step …');
		verdict.className = 'verdict';
		showSteps(list, (page.snapshot?.steps ?? []).map((step) => ({ ...step, state: 'open', ms: null })), true);
		try {
			const result = await post('test');
			isRunning = false;
			showSteps(list, result.steps, false);
			verdict.className = `verdict ${result.ok ? 'good' : 'bad'}`;
			verdict.replaceChildren(result.ok ? `It works. Round trip ${result.rtt_ms.toFixed(1)} ms.` : h('span', {}, sentence(result.error?.text ?? 'it stopped')),
				!result.ok && result.error?.cure ? h('p', { class: 'cure' }, sentence(result.error.cure)) : '');
		} catch (error) {
			verdict.className = 'verdict bad';
			verdict.replaceChildren(h('span', {}, sentence(error.message)), error.cure ? h('p', { class: 'cure' }, sentence(error.cure)) : '');
		} finally {
			isRunning = false;
		}
	};
	page.addEventListener('change', look);
	open('Test connection', h('div', {}, list, verdict, h('div', { class: 'actions' }, button('Test again', run))),
		() => page.removeEventListener('change', look));
	run();
}

// ---- pairing ----

function manualPart(page, dialog) {
	const key = h('div', {}, h('p', { class: 'hint' }, 'Loading this Pi’s key …'));
	const fields = [field('Address of the VM', { name: 'host', required: true, placeholder: 'vm.example or 192.0.2.7' }),
		field('Its SSH host key', { name: 'host_key', required: true, placeholder: 'ssh-ed25519 AAAA…' }, 'On the VM: cat /etc/ssh/ssh_host_ed25519_key.pub'),
		field('SSH port', { name: 'port', inputmode: 'numeric', value: '22' })];
	const element = h('details', { class: 'more' }, h('summary', {}, 'Without a code, by the VM’s host key'),
		h('ol', { class: 'todo' }, h('li', {}, 'Let this Pi in on the VM, as root:', key),
			h('li', {}, 'Say here where the VM is:', form(fields, 'Pair', async (values) => {
				await post('pair', { host: values.host.trim(), host_key: values.host_key.trim(), port: Number(values.port) });
				toast(`Paired with ${values.host}`);
				dialog().close();
			}))));
	element.addEventListener('toggle', async () => {
		try {
			key.replaceChildren(command(`echo '${(await get('key')).key}' | usbpush-vm authorize --name ${page.session.name} -`));
		} catch (error) {
			key.replaceChildren(h('p', { class: 'form-error' }, sentence(error.message)));
		}
	}, { once: true });
	return element;
}

const LOGIN_WORDS = { LOGIN: 'Logging in …', CONNECTING: 'The VM lets this Pi in. Connecting …', UP: 'Connected. Both sides write it down …' };

const isPlain = () => location.protocol === 'http:' && !['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);

/** By a login of the VM, given once: its host key to compare, then the password. Returns the element, and what is to hear of events. */
function loginPart(page, dialog) {
	const place = h('div', {}), state = h('p', { class: 'waiting', role: 'status', hidden: true });
	const say = (text) => { setText(state, text); state.hidden = !text; };
	const found = page.snapshot?.status?.vms?.find((vm) => !vm.is_paired);
	let target = { login_host: found?.address || found?.host || '', login_user: 'root', login_port: String(found?.port || 22) };
	const askTarget = () => {
		const fields = [field('The VM’s address', { name: 'login_host', required: true, value: target.login_host, placeholder: 'vm.example or 192.0.2.7' }),
			field('A login there', { name: 'login_user', required: true, value: target.login_user, autocomplete: 'off' }, 'root, or one that may use sudo'),
			field('Its SSH port', { name: 'login_port', inputmode: 'numeric', value: target.login_port })];
		place.replaceChildren(form(fields, 'Show its host key', async (values) => {
			target = values;
			askPassword(await post('pair/look', { host: values.login_host.trim(), port: Number(values.login_port) }));
		}));
	};
	const askPassword = (look) => {
		const same = h('input', { id: 'field-same', name: 'same', type: 'checkbox' });
		const password = field(`Password of ${target.login_user} there`, { name: 'login_password', type: 'password', autocomplete: 'off', required: true }, 'Used once, and kept nowhere.');
		const compare = h('div', { class: 'field' }, h('p', {}, `${target.login_host.trim()} shows this host key:`), h('p', {}, h('code', { class: 'fingerprint' }, look.fingerprint)),
			h('p', { class: 'hint' }, 'Its console, or whoever made it, shows the same by: ', h('code', {}, 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub')),
			h('label', { class: 'check', for: 'field-same' }, same, 'It is the same'));
		place.replaceChildren(form([{ input: same, element: compare }, password], 'Log in and pair', async (values) => {
			if (!same.checked)
				throw new Error('compare the host key first, and say that it is the same: whoever has another one would get the password');
			password.input.value = '';
			try {
				await post('pair/login', { host: target.login_host.trim(), port: Number(target.login_port), user: target.login_user.trim(), password: values.login_password, host_key: look.host_key });
			} finally {
				say('');
			}
			toast(`Paired with ${target.login_host.trim()}`);
			dialog().close();
		}), button('Another VM', async () => askTarget(), { class: 'button small' }));
		same.focus();
	};
	askTarget();
	return { element: h('details', { class: 'more' }, h('summary', {}, 'Without a terminal, by a login of the VM'), h('p', { class: 'hint' }, 'usbpush must be installed there.', isPlain() ? ' This page comes by plain HTTP: whoever can read your network can read the password. On the Pi itself, ' : '', isPlain() ? h('code', {}, 'sudo usbpush pair --login USER VM') : '', isPlain() ? ' is safe.' : ''), place, state),
		onEvent: (event) => LOGIN_WORDS[event.state] && place.querySelector('[aria-busy=true]') && say(LOGIN_WORDS[event.state]) };
}

const PAIRING_WORDS = { ANSWERED: 'The digits are checked …', CONNECTING: 'Connecting by SSH …', UP: 'Connected. Both sides write it down …', PAIRED: 'Paired.' };

function waitingPart(pairing, dialog) {
	const code = field('The six digits that it shows', { name: 'code', inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 9, class: 'code', placeholder: '000 000' });
	const element = h('div', { class: 'panel' }, h('p', {}, h('strong', {}, pairing.name || pairing.host), ` at ${pairing.from || pairing.host} wants to be paired.`),
		h('p', { class: 'hint' }, `Its host key: ${pairing.fingerprint}`),
		form([code], 'Pair', async (values) => {
			const result = await post(`pairings/${pairing.session}/code`, { code: values.code });
			toast(`Paired with ${result.name || result.host || pairing.name}`);
			dialog().close();
		}),
		button('Not this one', () => post(`pairings/${pairing.session}/cancel`), { class: 'button small' }));
	setTimeout(() => code.input.focus());
	return element;
}

/** Set Up Pairing. */
export function openPairing(page) {
	let dialog, timer;
	const list = h('div', {}), state = h('p', { class: 'waiting', role: 'status' });
	const look = async () => {
		clearTimeout(timer);
		try {
			const { pairings, locked_ms: lockedMs } = await get('pairings');
			const live = pairings.filter((p) => p.state !== 'FAILED' && p.state !== 'BEGUN');
			reconcile(list, live.filter((p) => p.state === 'WAITING' || list.querySelector(`[data-key="${p.session}"]`)), (p) => p.session,
				(p) => waitingPart(p, () => dialog), () => {});
			const busy = live.find((p) => PAIRING_WORDS[p.state]), lost = pairings.findLast((p) => p.state === 'FAILED' && p.error);
			setText(state, lockedMs > 0 ? `Too many wrong codes. Wait ${Math.ceil(lockedMs / 60000)} min.` : busy ? PAIRING_WORDS[busy.state] :
				live.length ? '' : lost ? `${sentence(lost.error.text)} Waiting for the VM to ask again …` : 'Waiting for the VM to ask …');
			state.hidden = !state.textContent;
		} catch (error) {
			setText(state, error.code === 'bad-request' ? 'This exporter does not pair by code. Use the host key.' : sentence(error.message));
		}
		clearTimeout(timer); // of another look that was on its way
		if (list.isConnected) // it may have been closed while this was on its way
			timer = setTimeout(look, 1500);
	};
	const login = loginPart(page, () => dialog);
	const onEvent = (event) => {
		if (event.detail?.kind !== 'pairing')
			return;
		login.onEvent(event.detail);
		look();
	};
	page.addEventListener('event', onEvent);
	dialog = open('Pair with a VM', h('div', {}, h('ol', { class: 'todo' },
		h('li', {}, 'Run this on the VM. It finds this Pi and shows six digits:', command('sudo usbpush-vm pair')),
		h('li', {}, 'Type them here:', state, list)), login.element, manualPart(page, () => dialog)), () => {
		clearTimeout(timer);
		timer = null;
		page.removeEventListener('event', onEvent);
		list.remove();
	});
	look();
}

/** This side is done; what is left on the VM stays on the page until it was read. */
function openLeft(left) {
	const dialog = open('Disconnected, on this side', h('div', {},
		h('p', {}, 'The devices are this Pi’s own again.'), h('p', {}, sentence(left.text)), left.cure ? h('p', { class: 'cure' }, sentence(left.cure)) : '',
		h('div', { class: 'actions' }, h('button', { type: 'button', class: 'button', onclick: () => dialog.close() }, 'I have read it'))));
}

/** Disconnect: asks first. */
export function openUnpair(page) {
	const vm = page.snapshot?.status?.link?.vm || page.snapshot?.status?.link?.host;
	const dialog = open('Disconnect from the VM?', h('div', {},
		h('p', {}, `${sentence(`${vm} loses all devices of this Pi`)} They are this Pi’s own again, and what you plug in stays here.`),
		h('div', { class: 'actions' }, h('button', { type: 'button', class: 'button', onclick: () => dialog.close() }, 'Keep it'),
			button('Disconnect', async () => {
				const { left } = await post('unpair');
				dialog.close();
				if (left)
					openLeft(left);
				else
					toast('Disconnected, on both sides. The devices are this Pi’s own again');
			}, { class: 'button danger' }))));
}
