/** What an embedded sandbox's starter leaves for those who join it later: `state.json`. */
import { readBoundedFile, replaceFile } from '../home/files.ts'
import type { Isolation } from './bubblewrap.ts'
import type { LocalLayout } from './layout.ts'

/** Facts about a running sandbox. */
export interface LocalState {
  readonly isolation: Isolation
  /** One sentence if it is less isolated than it could be, and why. */
  readonly warning: string | undefined
}

const STATE_BYTES_MAX = 64 * 1024

/** Writes it. @throws the system's error */
export function writeState(layout: LocalLayout, state: LocalState): void {
  replaceFile(layout.statePath, `${JSON.stringify(state)}\n`, 0o600)
}

/** Reads it; what cannot be read counts as no isolation, never as some. */
export function readState(layout: LocalLayout): LocalState {
  try {
    const value: unknown = JSON.parse(readBoundedFile(layout.statePath, STATE_BYTES_MAX).text)
    const fields = new Map(Object.entries(value ?? {}))
    const isolation = fields.get('isolation')
    const warning = fields.get('warning')
    if (isolation === 'separate-user' || isolation === 'namespaces' || isolation === 'none') {
      return { isolation, warning: typeof warning === 'string' ? warning : undefined }
    }
  } catch {
    // Gone with the sandbox, or never written.
  }
  return { isolation: 'none', warning: `it is not known whether ${layout.name} is isolated` }
}
