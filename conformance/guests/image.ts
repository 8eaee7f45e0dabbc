// What a guest consists of: Debian's kernel for virtual machines, and a first file system with
// busybox, this machine's Node and the guest program. There is no disk.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { findPrograms } from '../../packages/sandbox-bridge/src/local/programs.ts'
import { root } from '../../scripts/bundle.mjs'
import { missing } from '../peers/installed.ts'
import { Archive } from './archive.ts'

/** The package with the kernel is 27 MB that nothing else needs; unpacked it need not be installed. */
const KERNEL_FOLDERS = [process.env['GUEST_KERNEL'] ?? '', join(root, '.build/guest-kernel'), '/']

/** A kernel and where its modules are. */
export interface Kernel {
  readonly image: string
  readonly modules: string
}

/** The kernel for guests, if there is one. */
export function findKernel(): Kernel | undefined {
  for (const folder of KERNEL_FOLDERS.filter((path) => existsSync(join(path, 'boot')))) {
    const name = readdirSync(join(folder, 'boot')).find((file) =>
      /^vmlinuz-.*-cloud-amd64$/.test(file),
    )
    if (name === undefined) continue
    const modules = join(folder, 'lib/modules', name.slice('vmlinuz-'.length))
    if (existsSync(modules)) return { image: join(folder, 'boot', name), modules }
  }
  return undefined
}

/** Why no guest can be run on this machine, if so. */
export function guestsMissing(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `the guest is an x86-64 Linux made of this machine's programs, which is ${process.arch}`
  }
  const absent =
    missing('qemu-system-x86', ['qemu-system-x86_64']) ?? missing('busybox-static', ['busybox'])
  if (absent !== undefined) return absent
  if (findKernel() === undefined)
    return 'no kernel for guests (apt install linux-image-cloud-amd64)'
  return undefined
}

/** What is in a guest besides the base. */
export interface ImageOptions {
  /** Kernel modules to load, by name; those they need come before them. */
  readonly modules?: readonly string[]
  /** Programs of this machine, with their libraries; they will be in `/usr/bin`. */
  readonly programs?: readonly string[]
  /** Copies of files of this machine, by their paths in the guest. */
  readonly copies?: Readonly<Record<string, string>>
  /** Shell commands that run once everything is mounted; the machine ends with them. */
  readonly start: string
}

/** Writes the first file system of a guest. */
export function writeImage(target: string, kernel: Kernel, options: ImageOptions): void {
  const { guest, node, pty } = findPrograms()
  const busybox = realpathSync(which('busybox'))
  const programs = [
    busybox,
    node,
    ...(options.programs ?? []).map((name) => realpathSync(which(name))),
  ]
  const archive = new Archive(target)
  for (const folder of ['proc', 'sys', 'dev', 'tmp', 'root', 'run']) archive.folder(folder)
  for (const program of programs.slice(1)) {
    archive.copy(`/usr/bin/${basename(program)}`, program)
  }
  archive.copy('/bin/busybox', busybox)
  for (const applet of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')) {
    if (applet !== '' && applet !== 'busybox') archive.link(`/bin/${applet}`, 'busybox')
  }
  archive.copy('/opt/msb-guest.mjs', guest)
  if (pty !== undefined) archive.copy('/opt/pty.node', pty)
  for (const library of librariesOf([...programs, ...(pty === undefined ? [] : [pty])])) {
    archive.copy(library, library)
  }
  archive.file('/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n')
  archive.file('/etc/hosts', '127.0.0.1 localhost\n')
  for (const [path, source] of Object.entries(options.copies ?? {})) archive.copy(path, source)
  const modules = inOrder(kernel, [...BASE_MODULES, ...(options.modules ?? [])])
  for (const module of modules) archive.copy(`/modules/${basename(module)}`, module, 0o644)
  archive.file('/init', init(modules, options.start), 0o755)
  archive.close()
}

const BASE_MODULES = ['virtio_pci', 'virtio_console']

function init(modules: readonly string[], start: string): string {
  return `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
ln -s /proc/self/fd /dev/fd
exec </dev/null >/dev/ttyS0 2>&1
export PATH=/bin:/usr/bin HOME=/root
${modules.map((module) => `insmod /modules/${basename(module)}`).join('\n')}
ifconfig lo 127.0.0.1 up
${start}
echo "ended with $?"
poweroff -f
`
}

/** Module files, each behind those it needs. */
function inOrder({ modules }: Kernel, names: readonly string[]): readonly string[] {
  const files = new Map<string, string>()
  for (const entry of readdirSync(join(modules, 'kernel'), { recursive: true, encoding: 'utf8' })) {
    if (entry.endsWith('.ko')) {
      files.set(basename(entry, '.ko').replaceAll('-', '_'), join(modules, 'kernel', entry))
    }
  }
  const ordered = new Set<string>()
  const add = (name: string): void => {
    const file = files.get(name.replaceAll('-', '_'))
    if (file === undefined) throw new Error(`the kernel has no module ${name}`)
    if (ordered.has(file)) return
    for (const needed of neededBy(file)) add(needed)
    ordered.add(file)
  }
  for (const name of names) add(name)
  return [...ordered]
}

/** What a module says of itself, as depmod(8) reads it. */
function neededBy(file: string): readonly string[] {
  const text = readFileSync(file).toString('latin1')
  const list = /\0depends=([^\0]*)\0/.exec(text)?.[1] ?? ''
  return list.split(',').filter((name) => name !== '')
}

/** Shared libraries and the loader of programs; a static one has none. */
function librariesOf(programs: readonly string[]): readonly string[] {
  const libraries = new Set<string>()
  for (const program of programs) {
    let lines = ''
    try {
      lines = execFileSync('ldd', [program], { encoding: 'utf8', stdio: 'pipe' })
    } catch {
      continue
    }
    for (const [, path] of lines.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)) libraries.add(path ?? '')
  }
  return [...libraries]
}

function which(program: string): string {
  if (program.startsWith('/')) return program
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/bin', '/usr/bin']
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path))
  if (found === undefined) throw new Error(`${program} is not installed`)
  return found
}
