// A client that can send anything: the packet and key exchange layers without the machine's rules.

import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import type { PublicKey } from '../../src/keys/public-key.ts'
import type { Context } from '../../src/machine/context.ts'
import type { AuthVerdict } from '../../src/machine/event.ts'
import type { MachineOptions } from '../../src/machine/options.ts'
import { serverMachine } from '../../src/machine/server.ts'
import { KeyExchange } from '../../src/transport/key-exchange.ts'
import { PacketReader, PacketWriter } from '../../src/transport/packets.ts'
import { serviceRequest } from '../../src/wire/transport.ts'
import { userauthRequest } from '../../src/wire/userauth.ts'
import { End, hostKey } from './pair.ts'

const text = new TextEncoder()

export class RawClient {
  /** The machine under attack. */
  readonly server: End
  /** Payloads that came back, transport messages of the handshake excepted. */
  readonly received: Uint8Array[] = []
  readonly kex: KeyExchange
  readonly #writer: PacketWriter
  readonly #reader: PacketReader = new PacketReader()
  #versionRead = false

  /** `verdict` answers every authentication request; accepting by default. */
  constructor(
    options: Partial<MachineOptions> = {},
    verdict: AuthVerdict = { type: 'accept' },
    identification: string = 'SSH-2.0-raw',
  ) {
    const crypto = defaultCrypto()
    const algorithms = modern(crypto)
    const machine = serverMachine({
      crypto,
      algorithms,
      softwareVersion: 'sandbox-ssh_test',
      hostKeys: [hostKey.publicKey],
      nowMs: 0,
      ...options,
    })
    this.server = new End(machine, (question) => {
      if (question.kind === 'sign') {
        machine.answerSignature(question.id, hostKey.sign(question.data, question.algorithm))
      } else if (question.kind === 'authenticate') {
        machine.answerAuthentication(question.id, verdict)
      }
    })
    this.#writer = new PacketWriter(crypto)
    const context: Context = {
      role: 'client',
      crypto,
      algorithms,
      sessionId: new Uint8Array(0),
      hostKey: new Uint8Array(0),
      nowMs: 0,
      send: (payload) => this.#writer.packet(payload),
      emit: () => {},
      ask: (_kind, _fields, resume) => (resume as (answer: unknown) => void)(true),
    }
    const hostKeys: readonly PublicKey[] = []
    this.kex = new KeyExchange(context, this.#writer, this.#reader, {
      hostKeys,
      rekey: {},
      requireStrict: false,
      newKeysSent: () => {},
    })
    this.kex.setOwnIdentification(identification)
    this.#writer.raw(text.encode(`${identification}\r\n`))
  }

  /** Runs the first key exchange. */
  exchangeKeys(): this {
    this.kex.start()
    return this.settle()
  }

  /** Goes on into the connection protocol. */
  logIn(): this {
    this.exchangeKeys()
    this.send(serviceRequest.encode({ serviceName: 'ssh-userauth' }))
    this.send(
      userauthRequest.encode({
        username: 'eve',
        serviceName: 'ssh-connection',
        methodName: 'none',
        methodSpecific: new Uint8Array(0),
      }),
    )
    return this.settle()
  }

  /** Sends any payload as a packet. */
  send(payload: Uint8Array): this {
    this.#writer.packet(payload)
    return this
  }

  settle(): this {
    for (let moved = true; moved; ) {
      moved = false
      this.server.drain()
      for (let out = this.#writer.take(); out; out = this.#writer.take()) {
        moved = true
        this.server.machine.receive(out.slice())
        this.server.drain()
      }
      const { machine } = this.server
      for (let out = machine.takeOutput(); out; out = machine.takeOutput()) {
        moved = true
        this.#receive(out.slice())
      }
    }
    return this
  }

  #receive(bytes: Uint8Array): void {
    let rest = bytes
    if (!this.#versionRead) {
      const end = bytes.indexOf(10) + 1
      this.kex.setPeerIdentification(new TextDecoder().decode(bytes.subarray(0, end - 2)))
      this.#versionRead = true
      rest = bytes.subarray(end)
    }
    this.#reader.push(rest)
    for (let payload = this.#reader.next(); payload; payload = this.#reader.next()) {
      const number = payload[0] as number
      if (number >= 20 && number < 50) this.kex.receive(payload)
      else this.received.push(payload)
    }
  }
}
