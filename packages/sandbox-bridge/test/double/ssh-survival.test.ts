// Whatever clients do over SSH, the agent behind the bridge survives, and nothing of them is left:
// random visitors, several at once, to an agent as brittle as the real one. A failure names its
// seed; `SEED=n` runs that one alone.
// Time limit: 180 s

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { within } from '../within.ts'
import { BrittleAgent, recorded } from './brittle-agent.ts'
import { seeded, seeds } from './seeded.ts'
import { SshVisitor } from './ssh-visitor.ts'

const STEPS = 300
const VISITORS = 3
/** Sequences that run side by side: most of their time they wait. */
const LANES = 4
/** HUP, TERM and KILL to whoever ignores the first two, and some time to do it. */
const PATIENT_MS = 10_000

async function visit(seed: number): Promise<void> {
  const random = seeded(seed)
  const agent = new BrittleAgent(random)
  const enter = (): Promise<SshVisitor> => within(PATIENT_MS, () => SshVisitor.enter(random, agent))
  const visitors = await Promise.all(Array.from({ length: VISITORS }, enter))
  const leaving: Promise<void>[] = []
  const leave = (visitor: SshVisitor): void => {
    leaving.push(visitor.leave(random() < 0.5))
  }
  try {
    for (let step = 0; step < STEPS; step++) {
      for (const visitor of visitors) visitor.step()
      if (random() < 0.02) {
        visitors.push(await enter())
        const gone = visitors.shift()
        if (gone !== undefined) leave(gone)
      }
      if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, 1))
      for (const { surprise } of visitors) if (surprise !== undefined) throw surprise
    }
    const last = await enter()
    await within(PATIENT_MS, () => last.prove())
    for (const visitor of [...visitors, last]) leave(visitor)
    await within(PATIENT_MS, () => Promise.all(leaving))
    const found = [agent.dead, agent.blocked, ...agent.broken].filter((each) => each !== undefined)
    assert.equal(found, [], found.join('; '))
    const { clients, running, forgotten } = agent
    const left = `clients ${clients}, programs ${running}, connections ${forgotten}`
    assert.is(left, 'clients 0, programs 0, connections 0', left)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`SEED=${seed}: ${why}`, { cause: error })
  } finally {
    agent.stop()
  }
}

test('random SSH clients neither kill nor block the agent, and leave nothing behind', async () => {
  const waiting = [...seeds(10, 3)]
  const lane = async (): Promise<void> => {
    for (let seed = waiting.shift(); seed !== undefined; seed = waiting.shift()) await visit(seed)
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  // Much of what they asked, the real agent was asked before; it was answered in its own bytes.
  const { size } = recorded.given
  assert.ok(process.env['SEED'] !== undefined || size > 25, `${size} recorded answers were given`)
})

test.run()
