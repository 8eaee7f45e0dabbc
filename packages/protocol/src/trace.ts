/** A protocol trace for people: message names and sizes, never contents. */
import { MSG } from './wire/numbers.ts'

const names: ReadonlyMap<number, string> = new Map(
  // Reversed, so that the first of several names for a number wins.
  Object.entries(MSG)
    .reverse()
    .map(([name, number]) => [number, name]),
)

/** Names a message for a trace or an error, such as `CHANNEL_DATA`. */
export function messageName(number: number): string {
  return names.get(number) ?? `message ${number}`
}

/** One line of a trace. Contents stay out of it: they hold passwords, keys and user data. */
export function traceLine(direction: 'in' | 'out', payload: Uint8Array): string {
  const arrow = direction === 'in' ? '<' : '>'
  return `${arrow} ${messageName(payload[0] ?? 0)} (${payload.length} bytes)`
}
