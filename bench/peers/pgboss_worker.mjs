// pg-boss, as its documentation of workers has it: batches of 500 fetched anew while they come back
// full, every job of a batch settled by itself, polling at 0.5 s, which is its minimum.
import pg from 'pg'
import { PgBoss } from 'pg-boss'
import { obey } from './worker.mjs'

const CHUNK = 5000
const SETTINGS = {
  batchSize: 500,
  localConcurrency: 1,
  burstWhenBatchFull: true,
  pollingIntervalSeconds: 0.5,
  perJobResults: true,
}

class Boss {
  constructor(dsn) {
    this.dsn = dsn
  }

  async prepare() {
    this.pool = new pg.Pool({ connectionString: this.dsn, max: 2 })
    this.boss = new PgBoss({ connectionString: this.dsn, max: 20 })
    this.boss.on('error', (error) => console.error(String(error)))
    await this.boss.start()
    await this.boss.createQueue('job')
  }

  async fill(n, at) {
    for (let low = 0; low < n; low += CHUNK) {
      const some = Array.from({ length: Math.min(CHUNK, n - low) }, (_, k) => this.job(at?.[low + k]))
      await this.boss.insert('job', some)
    }
  }

  job(at) {
    return at ? { data: { at }, startAfter: new Date(at * 1000) } : { data: {} }
  }

  async start(probe) {
    await this.boss.work('job', SETTINGS, async (jobs) => {
      await Promise.all(jobs.map((job) => probe.handle(job.data.at)))
      return jobs.map((job) => ({ id: job.id, status: 'completed' }))
    })
  }

  async left() {
    const found = await this.pool.query("SELECT count(*) AS n FROM pgboss.job WHERE name = 'job' AND state < 'completed'")
    return Number(found.rows[0].n)
  }

  async stop() {
    await this.boss.stop({ graceful: false })
  }
}

await obey((dsn) => new Boss(dsn))
