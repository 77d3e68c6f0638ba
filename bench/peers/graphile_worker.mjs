// graphile-worker with the settings of its own benchmark (worker.graphile.org/docs/performance):
// 24 jobs at a time (100 where each makes a request), a local queue of 500, completion in batches
// without delay; jobs that are scheduled are polled for every 100 ms instead of 2 s.
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import pg from 'pg'
import { obey } from './worker.mjs'

const CHUNK = 5000
const logger = new Logger(() => () => {})

class Graphile {
  constructor(dsn, post) {
    this.dsn = dsn
    this.settings = {
      concurrentJobs: post ? 100 : 24,
      maxPoolSize: 25,
      pollInterval: 100,
      localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    }
  }

  async prepare() {
    this.pool = new pg.Pool({ connectionString: this.dsn, max: 2 })
    this.utils = await makeWorkerUtils({ connectionString: this.dsn, logger })
    await this.utils.migrate()
  }

  async fill(n, at) {
    for (let low = 0; low < n; low += CHUNK) {
      const some = Array.from({ length: Math.min(CHUNK, n - low) }, (_, k) => this.job(at?.[low + k]))
      await this.utils.addJobs(some)
    }
  }

  job(at) {
    if (!at) return { identifier: 'job', payload: {} }
    return { identifier: 'job', payload: { at }, runAt: new Date(at * 1000) }
  }

  async start(probe) {
    const preset = { worker: { connectionString: this.dsn, logger, ...this.settings } }
    this.runner = await run({ preset, noHandleSignals: true, taskList: { job: (payload) => probe.handle(payload.at) } })
  }

  async left() {
    const found = await this.pool.query('SELECT count(*) AS n FROM graphile_worker._private_jobs')
    return Number(found.rows[0].n)
  }

  async stop() {
    await this.runner.stop()
    await this.utils.release()
  }
}

await obey((dsn, post) => new Graphile(dsn, post))
