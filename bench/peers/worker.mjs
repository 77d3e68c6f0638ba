// The worker's side of the kit, for workers in JavaScript: see __init__.py for the protocol.
import readline from 'node:readline'
import undici from 'undici'

// 1 KB once encoded
const BODY = { to: 'someone@example.test', campaign: 7, pad: 'x'.repeat(960) }
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const answer = (value) => console.log(JSON.stringify(value))

// What every job calls: it counts, measures and, where asked, makes one POST.
export class Probe {
  constructor(url) {
    this.done = 0
    this.late = []
    this.pool = url ? new undici.Pool(new URL(url).origin, { connections: 100 }) : null
  }

  async handle(at) {
    if (at) this.late.push(Date.now() - at * 1000)
    if (this.pool) await this.post()
    this.done += 1
    if (this.done === 1) answer({ first: 1 })
  }

  async post() {
    const headers = { 'content-type': 'application/json' }
    const answered = await this.pool.request({ path: '/', method: 'POST', headers, body: JSON.stringify(BODY) })
    await answered.body.dump()
    if (answered.statusCode !== 202) throw new Error('the server answered ' + answered.statusCode)
  }
}

// Do what stdin says. Arguments: DSN SERVER_URL, "post" or "noop".
export async function obey(make) {
  const [dsn, url, kind] = process.argv.slice(2)
  const worker = make(dsn, kind === 'post')
  await worker.prepare()
  answer({ ready: true })
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  for (;;) {
    const order = JSON.parse((await lines.next()).value)
    if (order.do === 'work') {
      const probe = new Probe(kind === 'post' ? url : null)
      await worker.start(probe)
      while (probe.done < order.n) await sleep(10)
      while (order.drain && (await worker.left())) await sleep(20)
      answer({ done: probe.done, late_ms: probe.late })
      await lines.next()
      await worker.stop()
      answer({ stopped: true })
      process.exit(0)
    }
    await worker.fill(order.n ?? order.at.length, order.at)
    answer({ filled: true })
  }
}
