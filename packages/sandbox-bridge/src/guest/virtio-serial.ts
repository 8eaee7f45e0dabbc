/** Finding and serving the port of the virtual machine that the host talks to. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Device, openDevice } from '../carriers/device.ts'
import type { GuestConsole } from './console.ts'

/** Where the kernel lists ports, and where their devices are; tests have others. */
export interface PortPlaces {
  readonly ports: string
  readonly devices: string
}

const PLACES: PortPlaces = { ports: '/sys/class/virtio-ports', devices: '/dev' }
/** For the kernel to have found its devices. */
const APPEAR_MS = 15_000
const LOOK_MS = 100
/** Between a host that went and the next; a port without a host ends every read at once. */
const NEXT_HOST_MS = 20
const NEXT_HOST_MS_MAX = 1000
/** A host that was there this long was one. */
const HOST_MS = 1000

/** The device of the port with this name, if the kernel has one. */
export function findPort(name: string, places: PortPlaces = PLACES): string | undefined {
  let entries: readonly string[]
  try {
    entries = readdirSync(places.ports)
  } catch {
    return undefined
  }
  const found = entries.find((entry) => {
    try {
      return readFileSync(join(places.ports, entry, 'name'), 'utf8').trim() === name
    } catch {
      // A port without a name.
      return false
    }
  })
  return found === undefined ? undefined : join(places.devices, found)
}

/**
 * The device of the port, waiting for it a while.
 * @throws Error naming the port if it does not appear
 */
export async function awaitPort(
  name: string,
  { places = PLACES, timeoutMs = APPEAR_MS }: { places?: PortPlaces; timeoutMs?: number } = {},
): Promise<string> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const path = findPort(name, places)
    if (path !== undefined) return path
    if (Date.now() >= deadline) {
      throw new Error(`no virtio-serial port named ${name} in ${places.ports}`)
    }
    await sleep(LOOK_MS)
  }
}

/**
 * Serves hosts on a device, one after another, for ever.
 * @throws SandboxError if the device cannot be opened
 */
export async function serveDevice(path: string, console: GuestConsole): Promise<never> {
  const device: Device = openDevice(path)
  let waitMs = NEXT_HOST_MS
  for (;;) {
    const since = Date.now()
    await console.serve(device.open())
    waitMs = Date.now() - since > HOST_MS ? NEXT_HOST_MS : Math.min(2 * waitMs, NEXT_HOST_MS_MAX)
    await sleep(waitMs)
  }
}
