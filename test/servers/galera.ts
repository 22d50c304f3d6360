import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { findOrInstallGalera, type GaleraPrograms } from './find-galera.ts'
import { commandLine, createData, INIT_SQL, type Instance, newInstance, type Start, testServer } from './mariadb.ts'
import { freePort, type TestServer } from './server.ts'

/** Three nodes that hold the same data, and take writes each. */
export interface Galera {
  readonly nodes: readonly [TestServer, TestServer, TestServer]
  readonly stop: () => Promise<void>
}

/** One node: a MariaDB, and what the others of its cluster know it by. */
interface Node extends Instance {
  readonly uuid: string
  readonly groupPort: number
  readonly isPort: number
  readonly transferPort: number
}

/** Catching up runs a shell script of two thousand lines on both sides. */
const READY_WITHIN_MS = 120_000

/** Whoever carries a node's data to another logs in as this user. */
const TRANSFER_SQL = `CREATE USER 'transfer'@'localhost' IDENTIFIED BY 'transfer';
GRANT ALL PRIVILEGES ON *.* TO 'transfer'@'localhost';
`

/**
 * Starts a Galera cluster of three MariaDB nodes with an empty database `bot` and a user who may do everything,
 * Galera's and the servers' settings at their defaults. Only files that are about clusters start one.
 *
 * @throws Error saying what to install where something is missing, or what a server wrote where it does not start.
 */
export async function startGalera(): Promise<Galera> {
  const programs = findOrInstallGalera()
  const [first, ...others] = [await newNode(), await newNode(), await newNode()] as const
  const nodes = [first, ...others] as const
  const handleOn = (node: Node) => testServer(node, async () => howToStart(programs, nodes, node))
  const servers = [handleOn(nodes[0]), handleOn(nodes[1]), handleOn(nodes[2])] as const
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())))
  try {
    await createData(first)
    const sql = `FLUSH PRIVILEGES;\n${INIT_SQL}${TRANSFER_SQL}`
    const ready = [...commandLine(first), '--bootstrap', '--skip-networking']
    execFileSync(first.programs.server, ready, { input: sql, stdio: ['pipe', 'ignore', 'ignore'] })
    for (const node of others) cpSync(first.dataDir, node.dataDir, { recursive: true })
    makeOneCluster(nodes)
    await Promise.all(servers.map((server) => server.restart()))
  } catch (error) {
    await stop()
    throw error
  }
  return { nodes: servers, stop }
}

async function newNode(): Promise<Node> {
  const instance = await newInstance('galera')
  const [groupPort, isPort, transferPort] = [await freePort(), await freePort(), await freePort()]
  return { ...instance, uuid: randomUUID(), groupPort, isPort, transferPort }
}

/**
 * The nodes have the same data already: as members of a cluster that was whole a moment ago they find together by
 * themselves, and nobody has to carry half a gigabyte around first.
 */
function makeOneCluster(nodes: readonly Node[]): void {
  const state = `# GALERA saved state\nversion: 2.1\nuuid: ${randomUUID()}\nseqno: 0\nsafe_to_bootstrap: 0\n`
  const members = nodes.map(({ uuid }) => `member: ${uuid} 0\n`).join('')
  const view = `#vwbeg\nview_id: 3 ${nodes[0]?.uuid} 1\nbootstrap: 0\n${members}#vwend\n`
  for (const { dataDir, uuid } of nodes) {
    writeFileSync(join(dataDir, 'grastate.dat'), state)
    writeFileSync(join(dataDir, 'gvwstate.dat'), `my_uuid: ${uuid}\n${view}`)
  }
}

function howToStart({ provider, folders }: GaleraPrograms, nodes: readonly Node[], node: Node): Start {
  const { groupPort, isPort, transferPort } = node
  const settings = {
    wsrep_on: 'ON',
    wsrep_provider: provider,
    wsrep_cluster_address: `gcomm://${nodes.map((each) => `127.0.0.1:${each.groupPort}`).join(',')}`,
    wsrep_node_address: `127.0.0.1:${groupPort}`,
    wsrep_provider_options: `gmcast.listen_addr=tcp://127.0.0.1:${groupPort};ist.recv_addr=127.0.0.1:${isPort};gcache.size=16M`,
    wsrep_sst_method: 'mariabackup',
    wsrep_sst_receive_address: `127.0.0.1:${transferPort}`,
    wsrep_sst_auth: 'transfer:transfer',
    binlog_format: 'ROW',
    innodb_autoinc_lock_mode: '2',
    innodb_flush_log_at_trx_commit: '2',
  }
  const args = Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
  const path = [...folders, process.env['PATH']].join(delimiter)
  return { args: [...args, ...whereItStopped(node, args)], path, readyWithinMs: READY_WITHIN_MS }
}

/** After a crash, as a node's service does it: with its position it needs no more than what it has missed. */
function whereItStopped(node: Node, args: readonly string[]): string[] {
  const state = join(node.dataDir, 'grastate.dat')
  if (!existsSync(state) || !/seqno:\s*-1/.test(readFileSync(state, 'utf8'))) return []
  const log = join(node.directory, 'recovery.log')
  rmSync(log, { force: true })
  const recover = [...commandLine(node), ...args, '--wsrep-recover', `--log-error=${log}`]
  execFileSync(node.programs.server, recover, { stdio: 'ignore' })
  const position = /Recovered position: ?(\S+)/.exec(readFileSync(log, 'utf8'))?.[1]
  return position === undefined ? [] : [`--wsrep_start_position=${position}`]
}
