/** Galera clusters (MariaDB Galera Cluster, Percona XtraDB Cluster): several nodes with the same data, each takes writes. */
import type { Query } from './mysql-connection.ts'
import { text } from './mysql-values.ts'

/** Is this server a node of a cluster? A lone MariaDB has the variables too. */
export async function isGaleraNode(query: Query): Promise<boolean> {
  const variables = await readVariables(query, ['wsrep_on', 'wsrep_cluster_address'])
  return variables.get('wsrep_on') === 'ON' && variables.get('wsrep_cluster_address') !== ''
}

/** The connection's own values of those variables that this server has. */
export async function readVariables(query: Query, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { rows } = await query({ sql: 'SHOW SESSION VARIABLES WHERE Variable_name IN (?)', values: [names] })
  return new Map(rows.map(([name, value]) => [text(name), text(value)]))
}
