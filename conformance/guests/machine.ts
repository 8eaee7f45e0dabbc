// Virtual machines under QEMU, emulated in software: nothing of the host's kernel is needed.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../peers/folder.ts'
import { findKernel, type ImageOptions, writeImage } from './image.ts'

/** A machine that runs. */
export interface Machine {
  /** QEMU's end of the virtio-serial port named `agent`. */
  readonly console: string
  /** What the guest has printed on its serial line. */
  log(): string
  /** Presses the reset button. */
  reset(): void
  /** Resolves when QEMU has ended, which it does when the guest powers off. */
  readonly ended: Promise<void>
  /** Pulls the plug. */
  stop(): Promise<void>
}

/** For the first file system, once as it came and once unpacked, and what runs. */
const MEMORY_MIB = 512

/** Starts a machine; it boots while the caller goes on. */
export function startMachine(image: ImageOptions, memoryMiB: number = MEMORY_MIB): Machine {
  const kernel = findKernel()
  if (kernel === undefined) throw new Error('there is no kernel for guests')
  const folder = temporaryFolder()
  const [disk, console, serial] = ['initrd', 'agent.sock', 'serial.log'].map((name) =>
    join(folder, name),
  ) as [string, string, string]
  writeImage(disk, kernel, image)
  const socket = (id: string, path: string): string[] => [
    '-chardev',
    `socket,id=${id},path=${path},server=on,wait=off`,
  ]
  const qemu: ChildProcess = spawn(
    'qemu-system-x86_64',
    [
      ...['-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-m', `${memoryMiB}`],
      ...['-kernel', kernel.image, '-initrd', disk, '-append', 'console=ttyS0 quiet panic=1'],
      ...['-serial', `file:${serial}`, '-monitor', 'stdio', '-device', 'virtio-serial-pci'],
      // Another port comes first: only its name tells the guest which is the agent's.
      ...socket('other', join(folder, 'other.sock')),
      ...['-device', 'virtserialport,chardev=other,name=org.qemu.guest_agent.0'],
      ...socket('agent', console),
      ...['-device', 'virtserialport,chardev=agent,name=agent'],
    ],
    { stdio: ['pipe', 'ignore', 'inherit'] },
  )
  const kill = (): void => void qemu.kill('SIGKILL')
  process.once('exit', kill)
  const ended = new Promise<void>((resolve) => {
    qemu.once('error', () => resolve())
    qemu.once('exit', () => resolve())
  })
  void ended.then(() => process.off('exit', kill))
  qemu.stdin?.on('error', () => undefined)
  return {
    console,
    ended,
    log: () => readFileSync(serial, 'latin1'),
    reset: () => void qemu.stdin?.write('system_reset\n'),
    stop: async () => {
      kill()
      await ended
    },
  }
}
