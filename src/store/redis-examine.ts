/** What Redis tells of itself. Of a cluster, the node that was asked. */
import { examineClock, examineConnections, examinePrivileges, type Finding, fault, ok, warning } from './examine.ts'
import type { Send } from './redis-connection.ts'
import { RIGHTS } from './redis-errors.ts'
import { type Info, isOfCluster, readInfo, versionKey } from './redis-prepare.ts'

export async function examine(send: Send, prefix: string): Promise<Finding[]> {
  const info = await readInfo(send)
  return [
    ok('server', `Redis ${info.get('redis_version')}, ${info.get('redis_mode')}`),
    await examineClock(async () => {
      const [seconds, micros] = (await send('TIME', [])) as unknown[]
      return Number(String(seconds)) * 1000 + Number(String(micros)) / 1000
    }),
    examineRole(info),
    ...(await examineRights(send, versionKey(prefix))),
    examineMemory(info),
    examinePersistence(info),
    examineConnections('the server', Number(info.get('connected_clients')), Number(info.get('maxclients') ?? 0)),
    ...(isOfCluster(info) ? [examineSlots(String(await send('CLUSTER', ['INFO'])))] : []),
  ]
}

/** What the scripts do, each with a key of ours. */
function neededOn(key: string): string[][] {
  return [
    ...['GET', 'DEL', 'EXISTS', 'SMEMBERS'].map((command) => [command, key]),
    ...['SET', 'SADD', 'SREM', 'ZREM'].map((command) => [command, key, 'x']),
    ...['ZRANGE', 'ZREVRANGE', 'ZRANGEBYSCORE', 'ZCOUNT'].map((command) => [command, key, '0', '0']),
    ['ZADD', key, '0', 'x'],
    ['EVALSHA', 'x', '0'],
  ]
}

const DENIED = `
  if not redis.acl_check_cmd then return false end
  local denied = {}
  for _, words in ipairs(cjson.decode(ARGV[1])) do
    if not redis.acl_check_cmd(unpack(words)) then table.insert(denied, words[1]) end
  end
  return denied`

/** Before 7.0 a server cannot be asked without doing it. */
async function examineRights(send: Send, key: string): Promise<Finding[]> {
  const denied = await send('EVAL', [DENIED, 0, JSON.stringify(neededOn(key))])
  return Array.isArray(denied) ? [examinePrivileges(denied.map(String), RIGHTS)] : []
}

function examineRole(info: Info): Finding {
  if (isOfCluster(info)) return ok('writable', 'a node of a cluster, which names the masters')
  if (info.get('role') === 'master') return ok('writable', `a master, with ${info.get('connected_slaves')} replicas`)
  return fault(
    'writable',
    `this is a read-only replica of ${info.get('master_host')}:${info.get('master_port')}`,
    'Give the URL of the master, or of Sentinel',
  )
}

function examineMemory(info: Info): Finding {
  const policy = info.get('maxmemory_policy') ?? 'unknown'
  const most = Number(info.get('maxmemory'))
  const used = Number(info.get('used_memory'))
  const size = `${info.get('used_memory_human')} of ${most === 0 ? 'as much as there is' : info.get('maxmemory_human')} in use`
  if (most > 0 && policy !== 'noeviction') {
    return fault(
      'memory',
      `maxmemory-policy is ${policy}: a full Redis throws locks and handled messages away; ${size}`,
      'Set maxmemory-policy noeviction, or use a Redis of its own',
    )
  }
  if (most > 0 && used > most * 0.9) {
    return warning('memory', `noeviction, and nearly full: ${size}`, 'Raise maxmemory, or shorten retentionMs')
  }
  return ok('memory', `${policy}; ${size}`)
}

function examinePersistence(info: Info): Finding {
  const isAppended = info.get('aof_enabled') === '1'
  const failed = [info.get('rdb_last_bgsave_status'), info.get('aof_last_write_status')].some(
    (status) => status !== undefined && status !== 'ok',
  )
  if (failed) return fault('persistence', 'the last save to disk failed', 'Look at the disk and the log of Redis')
  if (isAppended) return ok('persistence', 'append-only file')
  return warning(
    'persistence',
    'there is no append-only file: a crash of Redis forgets what was handled since its last snapshot',
    'Set appendonly yes, or accept that those messages are handled again',
  )
}

function examineSlots(text: string): Finding {
  const state = /cluster_state:(\w+)/.exec(text)?.[1]
  const covered = Number(/cluster_slots_ok:(\d+)/.exec(text)?.[1])
  if (state === 'ok' && covered === 16_384) return ok('cluster', 'every slot has a node')
  return fault(
    'cluster',
    `the cluster's state is ${state}, and ${covered} of 16384 slots are served`,
    'Look at CLUSTER NODES: bring the missing nodes back, or run redis-cli --cluster fix',
  )
}
