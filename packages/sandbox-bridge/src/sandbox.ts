/** A sandbox by name or endpoint: the beginning of everything a user does with one. */
import type { Transport } from '@sandbox-ssh/protocol'
import { AgentClient } from './agent/client.ts'
import { openConnector, type SandboxConnector } from './carriers/connector.ts'
import type { RunOptions, SandboxRun } from './carriers/named.ts'
import type { DialOptions } from './carriers/unix.ts'
import { type CatalogueEntry, readCatalogue } from './home/catalogue-database.ts'
import { type Home, openHome } from './home/home.ts'
import { parseSandboxTarget, type SandboxTarget } from './home/names.ts'
import { checkAbsolute, checkEnv, checkText, type SessionSettings } from './settings.ts'
import { SandboxSshOps } from './ssh-ops.ts'

/** How a sandbox is found and how its sessions are set up. */
export interface SandboxOptions extends SessionSettings {
  /** MSB_HOME, as a path or already opened; default: found as microsandbox finds it. */
  readonly home?: string | Home | undefined
  /** Guest user of native sessions that name none; default: the catalogue's, else `root`. */
  readonly user?: string | undefined
  /**
   * Told, in a sentence, what the user of a sandbox should know, such as that an embedded one is
   * not isolated. Default: a warning of the process.
   */
  readonly onWarning?: ((message: string) => void) | undefined
}

/**
 * Opens a connection to a guest agent's relay, by whatever way: for carriers of your own. The
 * transport is the caller's, who ends it.
 */
export type SandboxDial = (options: DialOptions) => Promise<Transport>

/** What `sandbox` accepts: an argument as a user writes it, a parsed one, or a way to dial. */
export type SandboxSource = string | SandboxTarget | SandboxDial

/**
 * The sandbox of that name or endpoint (`devbox`, `unix:/path/agent.sock`, `local:devbox`). Nothing
 * is looked up or started before the first connection.
 * @throws SandboxError `SANDBOX_NAME_INVALID`, `CONFIG_INVALID`; TypeError for a bad option
 *
 * @example
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * await using client = await sandbox('local:devbox').ssh().openClient()
 * console.log((await client.exec('echo hello')).stdout.toString().trim()) // hello
 */
export function sandbox(source: SandboxSource, options: SandboxOptions = {}): Sandbox {
  return new Sandbox(source, options)
}

/**
 * One sandbox. Holds no resource: connections do.
 *
 * @example
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const devbox = sandbox('local:devbox', { env: { PROJECT: 'site' }, workdir: '/tmp' })
 * console.log(devbox.label, devbox.user, devbox.settings.workdir) // local:devbox root /tmp
 * await using client = await devbox.ssh().openClient()
 * const { stdout } = await client.exec('echo $PROJECT in $PWD')
 * console.log(stdout.toString().trim()) // site in /tmp
 */
export class Sandbox {
  /** The sandbox as the user would write it, for messages. */
  readonly label: string
  /** The home it is looked for in. */
  readonly home: Home
  /** Where its host key is kept; undefined for one reached by a function. */
  readonly hostKeyPath: string | undefined
  readonly #settings: SessionSettings
  readonly #user: string | undefined
  readonly #dial: SandboxDial
  readonly #run: SandboxConnector['run']
  /** Its name in microsandbox's catalogue. */
  readonly #name: string | undefined

  /** Use `sandbox`. */
  constructor(source: SandboxSource, options: SandboxOptions = {}) {
    const { shell, workdir, env, user, onWarning = processWarning } = options
    checkAbsolute(shell, 'shell')
    checkAbsolute(workdir, 'workdir')
    checkEnv(env, 'env')
    checkText(user, 'user')
    this.#settings = { shell, workdir, env }
    this.#user = user
    this.home = typeof options.home === 'object' ? options.home : openHomeAt(options.home)
    if (typeof source === 'function') {
      this.label = 'sandbox'
      this.hostKeyPath = undefined
      this.#dial = source
      this.#run = undefined
      this.#name = undefined
    } else {
      const connector = connectorOf(source, this.home, onWarning)
      this.label = connector.label
      this.hostKeyPath = connector.hostKeyPath
      this.#dial = (dialOptions) => connector.dial(dialOptions)
      this.#run = connector.run
      this.#name = connector.target.kind === 'name' ? connector.target.name : undefined
    }
  }

  /**
   * How its sessions are set up: as the options say, else as microsandbox's catalogue says now.
   */
  get settings(): SessionSettings {
    const known = this.#catalogued()?.settings
    const { shell, workdir, env } = this.#settings
    return {
      shell: shell ?? known?.shell,
      workdir: workdir ?? known?.workdir,
      env: known?.env === undefined ? env : { ...known.env, ...env },
    }
  }

  /** Guest user of native sessions that name none. */
  get user(): string {
    return this.#user ?? this.#catalogued()?.user ?? 'root'
  }

  /**
   * Makes sure the sandbox runs: a stopped sandbox of microsandbox is started through its own
   * program. Connections alone never start one. `end` of what comes back stops it again, if it was
   * started here and nobody else uses it.
   * @throws SandboxError `SANDBOX_NOT_FOUND`, `SANDBOX_NOT_RUNNING` without that program,
   * `SANDBOX_STARTING`, `SANDBOX_START_FAILED`
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const box = sandbox('local:devbox')
   * const run = await box.run()
   * const client = await box.ssh().openClient()
   * console.log((await client.exec('echo $((6 * 7))')).stdout.toString().trim()) // 42
   * await client.close()
   * console.log(await run.end('leave')) // left
   */
  async run(options: RunOptions = {}): Promise<SandboxRun> {
    if (this.#run !== undefined) return this.#run(options)
    return { started: false, end: () => Promise.resolve('left') }
  }

  /** SSH into the sandbox: clients, servers. */
  ssh(): SandboxSshOps {
    return new SandboxSshOps(this)
  }

  /**
   * A new connection to the sandbox's agent, below SSH. Close it when done.
   * @throws SandboxError if it cannot be reached, AgentError if what answers is no agent
   */
  async connectAgent(options: DialOptions = {}): Promise<AgentClient> {
    const transport = await this.#dial(options)
    return AgentClient.connect(transport, { signal: options.signal })
  }

  #catalogued(): CatalogueEntry | undefined {
    if (this.#name === undefined) return undefined
    const answer = readCatalogue(this.home, this.#name)
    return answer.kind === 'found' ? answer.entry : undefined
  }
}

function connectorOf(
  source: string | SandboxTarget,
  home: Home,
  onWarning: (message: string) => void,
): SandboxConnector {
  const target = typeof source === 'string' ? parseSandboxTarget(source) : source
  return openConnector(target, { home, onWarning })
}

function openHomeAt(path: string | undefined): Home {
  return path === undefined ? openHome() : openHome({ path })
}

function processWarning(message: string): void {
  process.emitWarning(message)
}
