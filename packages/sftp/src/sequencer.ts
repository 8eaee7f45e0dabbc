/**
 * Which requests may run at once. Draft 02 §6.1: the answers must be those of a server that works
 * one request at a time, yet what does not touch the same file may overlap. Clients keep dozens of
 * reads and writes in flight, and a file system behind a round trip is only fast when it gets them
 * together.
 *
 * Rules, each against every earlier request still running:
 * - reads and writes of one file wait for writes to the same bytes, writes for reads of them too;
 * - what concerns a handle as a whole (attributes, sync, close) waits for all on that handle's file;
 * - a look at a path waits for all changes; a change of paths waits for all changes and looks.
 * Files are told apart by the path they were opened with. Two handles that reach one file by
 * different names, used without waiting for answers, are the exception we allow ourselves.
 */

/** What a request touches. `file` is the path its handle was opened with. */
export type Claim =
  | {
      readonly kind: 'read' | 'write'
      readonly file: string
      readonly from: number
      readonly to: number
    }
  | { readonly kind: 'handle'; readonly files: readonly string[]; readonly changes: boolean }
  | { readonly kind: 'look' }
  | { readonly kind: 'change'; readonly paths: readonly string[] }

interface Running {
  readonly claim: Claim
  readonly done: Promise<void>
}

/** Starts tasks as soon as all they must come after is done. */
export class Sequencer {
  readonly #running = new Set<Running>()

  /** Runs `task` in its turn. The caller bounds how many are running. */
  async run<T>(claim: Claim, task: () => Promise<T>): Promise<T> {
    const earlier: Promise<void>[] = []
    for (const other of this.#running) {
      if (mustWait(claim, other.claim)) earlier.push(other.done)
    }
    let finish = (): void => {}
    const entry = {
      claim,
      done: new Promise<void>((resolve) => {
        finish = resolve
      }),
    }
    this.#running.add(entry)
    try {
      if (earlier.length > 0) await Promise.all(earlier)
      return await task()
    } finally {
      this.#running.delete(entry)
      finish()
    }
  }

  /** Resolves when everything that was started is done. */
  async idle(): Promise<void> {
    await Promise.all([...this.#running].map((entry) => entry.done))
  }
}

/** Whether `later` has to wait for `earlier`. */
export function mustWait(later: Claim, earlier: Claim): boolean {
  switch (later.kind) {
    case 'read':
    case 'write':
      if (!concerns(earlier, later.file)) return false
      if (earlier.kind === 'handle') return earlier.changes || later.kind === 'write'
      if (earlier.kind !== 'read' && earlier.kind !== 'write') return true
      if (earlier.kind === 'read' && later.kind === 'read') return false
      return earlier.from < later.to && later.from < earlier.to
    case 'handle':
      return later.files.some((file) => concerns(earlier, file))
    case 'look':
      return changes(earlier)
    case 'change':
      if (earlier.kind === 'read') return later.paths.includes(earlier.file)
      return changes(earlier) || earlier.kind === 'look'
  }
}

/** Whether `claim` names `file`; looks name nothing, as they disturb nobody. */
function concerns(claim: Claim, file: string): boolean {
  switch (claim.kind) {
    case 'read':
    case 'write':
      return claim.file === file
    case 'handle':
      return claim.files.includes(file)
    case 'change':
      return claim.paths.includes(file)
    case 'look':
      return false
  }
}

function changes(claim: Claim): boolean {
  switch (claim.kind) {
    case 'read':
    case 'look':
      return false
    case 'write':
    case 'change':
      return true
    case 'handle':
      return claim.changes
  }
}
