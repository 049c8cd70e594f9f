// The portal's API, as openapi.json describes it.

const LOOK_MS = 10000; // what only looks is answered by then, or the way to the Pi is dead

let csrf = null, onRefused = () => {};

/** What the portal could not do: message, what to do about it, and the code. */
export class ApiError extends Error {
	constructor(status, error) {
		super(error?.text ?? `the portal answered ${status}`);
		this.status = status;
		this.code = error?.code ?? 'unknown';
		this.cure = error?.cure ?? '';
	}
}

/** What a refusal says to who sits before the page, where the API's words are for who writes a program. */
const REFUSALS = {
	'login-needed': { code: 'login-needed', text: 'your login has ended', cure: 'Log in again.' },
	csrf: { code: 'csrf', text: 'you have logged in anew since this page was opened', cure: 'Try again.' },
};

async function ask(method, path, body) {
	let response, answer;
	try {
		response = await fetch(`/api/v1/${path}`, {
			method,
			cache: 'no-store',
			headers: method === 'POST' ? { 'Content-Type': 'application/json', 'X-Usbpush-Csrf': csrf ?? '' } : {},
			body: method === 'POST' ? JSON.stringify(body ?? {}) : undefined,
			signal: method === 'GET' ? AbortSignal.timeout?.(LOOK_MS) : undefined, // a change may take its time; an old browser waits for ever
		});
		answer = await response.json();
	} catch {
		if (!response || response.ok) // half an answer, or a network's own page, is none either
			throw new ApiError(0, { code: 'unreachable', text: 'the portal does not answer', cure: 'Is the Pi on, and are you in its network?' });
	}
	const refusal = response.ok ? null : REFUSALS[answer?.error?.code];
	if (refusal)
		await onRefused(refusal.code);
	if (!response.ok)
		throw new ApiError(response.status, refusal ?? answer?.error);
	if ('csrf' in answer)
		keep(answer);
	return answer;
}

/** work is called with the code, and waited for, when the portal takes this page for somebody else's: "login-needed", "csrf". It throws nothing. */
export const whenRefused = (work) => { onRefused = work; };

/** Changes carry this session's secret from now on. */
export const keep = (session) => { csrf = session.csrf; };

export const get = (path) => ask('GET', path);
export const post = (path, body) => ask('POST', path, body);
