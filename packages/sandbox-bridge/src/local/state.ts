/** What the host process of an embedded sandbox tells its starter and those who join later. */
import type { Isolation } from './bubblewrap.ts'

/** The one line a host process writes to its stdout. */
export type HostReport =
  /** The sandbox runs and its socket is open. */
  | { readonly type: 'ready' }
  /** Another process has the lock. */
  | { readonly type: 'busy' }
  | { readonly type: 'failed'; readonly message: string }

/** Facts about a running sandbox, in its `state.json`. */
export interface LocalState {
  readonly isolation: Isolation
  /** One sentence if it is not isolated, and why. */
  readonly warning: string | undefined
}

/** Reads a report; anything else is a failure. */
export function parseReport(text: string): HostReport {
  const fields = parseObject(text)
  const type = fields.get('type')
  if (type === 'ready' || type === 'busy') return { type }
  const message = fields.get('message')
  return {
    type: 'failed',
    message: typeof message === 'string' ? message : 'the host process ended without a word',
  }
}

/** Reads a state; throws on anything else. */
export function parseState(text: string): LocalState {
  const fields = parseObject(text)
  const isolation = fields.get('isolation')
  const warning = fields.get('warning')
  if (isolation !== 'separate-user' && isolation !== 'namespaces' && isolation !== 'none') {
    throw new TypeError('not a state file')
  }
  return { isolation, warning: typeof warning === 'string' ? warning : undefined }
}

function parseObject(text: string): Map<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : [])
  } catch {
    return new Map()
  }
}
