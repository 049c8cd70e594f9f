// Building and changing the page: text goes in as text, whatever a device calls itself.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes (on*: listeners, true: bare) and children (text or nodes; null is left out). */
export function h(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith('on'))
			element.addEventListener(name.slice(2), value);
		else if (value === true)
			element.setAttribute(name, '');
		else if (value !== false && value != null)
			element.setAttribute(name, value);
	}
	element.append(...children.flat().filter((child) => child != null));
	return element;
}

const ICONS = {
	serial: 'M4 8h16l-2 8H6zM8 11v.01M12 11v.01M16 11v.01M10 13.5v.01M14 13.5v.01',
	chip: 'M7 7h10v10H7zM10 4v3M14 4v3M10 17v3M14 17v3M4 10h3M4 14h3M17 10h3M17 14h3',
	hub: 'M12 5v6M12 11l-6 5M12 11l6 5M12 11v5M12 3.5v.01M6 18.5v.01M12 18.5v.01M18 18.5v.01',
	keyboard: 'M3 7h18v10H3zM7 10.5v.01M11 10.5v.01M15 10.5v.01M8 14h8',
	disk: 'M5 4h14v16H5zM8 16h8M9 4v6h6V4',
	network: 'M4 9h16v10H4zM8 9V5h8v4M9 19v-4h6v4',
	usb: 'M12 20V5M12 5l-2.5 3M12 5l2.5 3M12 16l-4-3v-2.5M12 14l4-3V8.5',
	board: 'M4 6h16v12H4zM8 10h3v4H8zM14 9.5v.01M17 9.5v.01M14 12.5v.01M17 12.5v.01M14 15h3',
	server: 'M5 4h14v7H5zM5 13h14v7H5zM8 7.5v.01M8 16.5v.01M12 7.5h4M12 16.5h4',
	copy: 'M9 9h10v10H9zM5 15V5h10',
	check: 'M5 12.5l4.5 4.5L19 7.5',
	cross: 'M7 7l10 10M17 7L7 17',
	dot: 'M12 12v.01',
};

/** A line drawing, for show only. */
export function icon(name) {
	const svg = document.createElementNS(SVG, 'svg'), path = document.createElementNS(SVG, 'path');
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.setAttribute('aria-hidden', 'true');
	svg.classList.add('icon');
	path.setAttribute('d', ICONS[name]);
	svg.append(path);
	return svg;
}

/** Sets the text if it is another one, so that nothing flickers and no selection is lost. */
export function setText(element, text) {
	if (element.textContent !== text)
		element.textContent = text;
}

/** Brings the children of parent into line with items, each by its key: what stays is changed in place and keeps the focus. */
export function reconcile(parent, items, keyOf, make, change) {
	const old = new Map([...parent.children].map((child) => [child.dataset.key, child])), kept = new Set(items.map((item) => String(keyOf(item))));
	for (const child of [...parent.children])
		if (!kept.has(child.dataset.key))
			child.remove(); // first: so that what stays need not be moved, which would take the focus from it
	let before = parent.firstElementChild;
	for (const item of items) {
		const key = String(keyOf(item));
		let child = old.get(key);
		if (!child) {
			child = make(item);
			child.dataset.key = key;
		}
		change(child, item);
		if (child === before)
			before = before.nextElementSibling;
		else
			parent.insertBefore(child, before);
	}
}

/** "3 min", "2 h". */
export function span(ms) {
	const s = Math.max(0, Math.round(ms / 1000));
	if (s < 90)
		return `${s} s`;
	if (s < 90 * 60)
		return `${Math.round(s / 60)} min`;
	return s < 48 * 3600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

/** A sentence that begins and ends like one; a name stays as it is. */
export function sentence(text) {
	const trimmed = (text ?? '').trim();
	if (!trimmed)
		return '';
	return (/^[a-z]+(\s|$)/.test(trimmed) ? trimmed[0].toUpperCase() + trimmed.slice(1) : trimmed) + (/[.!?)]$/.test(trimmed) ? '' : '.');
}

/** A button that shows that its work is under way, and takes no second click meanwhile. */
export function button(label, work, attributes = {}) {
	const element = h('button', { type: 'button', class: 'button', ...attributes }, label);
	element.addEventListener('click', async () => {
		if (element.getAttribute('aria-busy') === 'true')
			return;
		element.setAttribute('aria-busy', 'true');
		try {
			await work(element);
		} catch (error) {
			toast(error);
		} finally {
			element.removeAttribute('aria-busy');
		}
	});
	return element;
}

/** Says for a while what happened. An error stays longer, and says what to do. */
export function toast(what) {
	const isError = what instanceof Error;
	const element = h('div', { class: isError ? 'toast toast-error' : 'toast' }, h('p', {}, sentence(isError ? what.message : what)),
		isError && what.cure ? h('p', { class: 'cure' }, sentence(what.cure)) : null);
	const toasts = document.getElementById('toasts');
	toasts.append(element);
	if (toasts.showPopover) { // above a dialog, too
		if (toasts.matches(':popover-open'))
			toasts.hidePopover();
		toasts.showPopover();
	}
	setTimeout(() => element.remove(), isError ? 9000 : 4000);
}
