/**
 * A protocol trace for people: message names, sizes, and of the contents what shows how a connection
 * goes. Left out is all that could be a secret or somebody's data: passwords, answers to prompts, user
 * names, signatures, commands, environment, whatever channels carry.
 */
import { printable } from './printable.ts'
import {
  channelOpen,
  channelOpenConfirmation,
  channelOpenFailure,
  channelRequest,
  channelWindowAdjust,
  globalRequest,
} from './wire/connection.ts'
import { recipientOf } from './wire/fast.ts'
import { MSG } from './wire/numbers.ts'
import { disconnect, extInfo, kexinit, serviceAccept, serviceRequest } from './wire/transport.ts'
import { publickeyRequest, userauthFailure, userauthRequest } from './wire/userauth.ts'

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

/** One line of a trace, such as `< CHANNEL_REQUEST (30 bytes) channel 0: exec`. */
export function traceLine(direction: 'in' | 'out', payload: Uint8Array): string {
  const arrow = direction === 'in' ? '<' : '>'
  const line = `${arrow} ${messageName(payload[0] ?? 0)} (${payload.length} bytes)`
  const detail = detailOf(payload)
  return detail === '' ? line : `${line} ${printable(detail, 1000)}`
}

function detailOf(payload: Uint8Array): string {
  try {
    return detail(payload)
  } catch {
    // What is malformed is told by who acts on it.
    return ''
  }
}

function detail(payload: Uint8Array): string {
  const number = payload[0] as number
  switch (number) {
    case MSG.DISCONNECT: {
      const { reasonCode, description } = disconnect.decode(payload)
      return `reason ${reasonCode}: ${description}`
    }
    case MSG.SERVICE_REQUEST:
      return serviceRequest.decode(payload).serviceName
    case MSG.SERVICE_ACCEPT:
      return serviceAccept.decode(payload).serviceName
    case MSG.EXT_INFO:
      return list(extInfo.decode(payload).extensions.map(({ name }) => name))
    case MSG.KEXINIT: {
      const offer = kexinit.decode(payload)
      return [
        `key exchange ${list(offer.kexAlgorithms)}`,
        `host key ${list(offer.serverHostKeyAlgorithms)}`,
        `cipher ${list(offer.encryptionAlgorithmsClientToServer)}`,
        `MAC ${list(offer.macAlgorithmsClientToServer)}`,
        `compression ${list(offer.compressionAlgorithmsClientToServer)}`,
      ].join('; ')
    }
    case MSG.USERAUTH_REQUEST: {
      const { methodName, methodSpecific } = userauthRequest.decode(payload)
      if (!methodName.startsWith('publickey')) return methodName
      const { signed, algorithm } = publickeyRequest.decode(methodSpecific)
      return `${methodName} ${algorithm}${signed ? ', signed' : ''}`
    }
    case MSG.USERAUTH_FAILURE: {
      const { methods, partialSuccess } = userauthFailure.decode(payload)
      return `can continue: ${list(methods)}${partialSuccess ? '; partial success' : ''}`
    }
    case MSG.GLOBAL_REQUEST:
      return globalRequest.decode(payload).requestName
    case MSG.CHANNEL_OPEN: {
      const { senderChannel, channelType } = channelOpen.decode(payload)
      return `channel ${senderChannel}: ${channelType}`
    }
    case MSG.CHANNEL_OPEN_CONFIRMATION: {
      const { recipientChannel, senderChannel } = channelOpenConfirmation.decode(payload)
      return `channel ${recipientChannel} is ${senderChannel} there`
    }
    case MSG.CHANNEL_OPEN_FAILURE: {
      const { recipientChannel, reasonCode, description } = channelOpenFailure.decode(payload)
      return `channel ${recipientChannel}: reason ${reasonCode}, ${description}`
    }
    case MSG.CHANNEL_WINDOW_ADJUST: {
      const { recipientChannel, bytesToAdd } = channelWindowAdjust.decode(payload)
      return `channel ${recipientChannel}: ${bytesToAdd} bytes more`
    }
    case MSG.CHANNEL_REQUEST: {
      const { recipientChannel, requestType } = channelRequest.decode(payload)
      return `channel ${recipientChannel}: ${requestType}`
    }
    default:
      return number > MSG.CHANNEL_OPEN_FAILURE && number <= MSG.CHANNEL_FAILURE
        ? `channel ${recipientOf(payload)}`
        : ''
  }
}

function list(items: readonly string[]): string {
  return items.length === 0 ? 'none' : items.join(' ')
}
