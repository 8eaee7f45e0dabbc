/**
 * Character devices: a virtio-serial port in a guest, a terminal or serial line on a host.
 *
 * The runtime's event loop takes only terminals, and a read that waits in its thread pool can
 * neither be called back nor let the process end. So `cat` reads and writes for us: it blocks in
 * our place, its pipes are ordinary streams, and it can be killed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { nodeStreams, type Transport } from '@sandbox-ssh/protocol'
import { reasonOf, SandboxError } from '../home/errors.ts'

/** An open device; some, such as a virtio-serial port, can be opened but once at a time. */
export interface Device {
  /**
   * A transport over it, until the other side goes; then there may be another. Aborting ends the
   * transport alone.
   */
  open(): Transport
  /** Closes the device. */
  close(): void
}

/**
 * Opens a device for reading and writing; a terminal is set to pass all bytes as they are.
 * @throws SandboxError `SANDBOX_NOT_FOUND`, `SANDBOX_UNREACHABLE`
 */
export function openDevice(path: string): Device {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY)
  } catch (cause) {
    const code = reasonOf(cause).includes('ENOENT') ? 'SANDBOX_NOT_FOUND' : 'SANDBOX_UNREACHABLE'
    throw new SandboxError(code, `cannot open ${path}: ${reasonOf(cause)}`, { cause })
  }
  if (isatty(fd)) spawnSync('stty', ['raw', '-echo'], { stdio: [fd, 'ignore', 'ignore'] })
  return { open: () => overCat(fd, path), close: () => closeSync(fd) }
}

function overCat(fd: number, path: string): Transport {
  const reader = spawn('cat', { stdio: [fd, 'pipe', 'ignore'] })
  const writer = spawn('cat', { stdio: ['pipe', fd, 'ignore'] })
  // Both are pipes, as asked for.
  const inner = nodeStreams(reader.stdout as Readable, writer.stdin as Writable)
  const kill = (): void => {
    reader.kill('SIGKILL')
    writer.kill('SIGKILL')
  }
  for (const child of [reader, writer]) {
    child.on('error', (cause) => {
      inner.abort(new SandboxError('SANDBOX_UNREACHABLE', `${path} needs cat: ${reasonOf(cause)}`))
      kill()
    })
  }
  process.once('exit', kill)
  reader.once('exit', () => process.off('exit', kill))
  return {
    read: () => inner.read(),
    write: (chunk) => inner.write(chunk),
    close: async () => {
      // What `cat` has taken it also delivers before it ends.
      const gone = new Promise<void>((resolve) => writer.once('exit', () => resolve()))
      await inner.close()
      if (writer.exitCode === null && writer.signalCode === null) await gone
    },
    abort: (reason) => {
      inner.abort(reason)
      kill()
    },
  }
}
