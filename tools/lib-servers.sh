# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Servers to be measured, in $work_dir and without a trace outside: redis, nginx (also over TLS), postgres, node; and loops of
# node and python that allocate. Sourced behind tools/lib.sh.
# start_NAME returns when the server answers; `server_pid` is then its first process.

server_pids=()
server_pid=
nginx_port=$((20000 + $$ % 20000))
node_port=$((nginx_port + 1))
nginx_tls_port=$((nginx_port + 2))
node_options=()
# A loop takes a number of seconds by its input and says what it did by its output.
declare -A loop_input=() loop_output=()

stop_servers() {
  local pid
  for pid in "${server_pids[@]}"; do kill -TERM "$pid" 2> /dev/null || true; done
  for pid in "${server_pids[@]}"; do wait "$pid" 2> /dev/null || true; done
}

note_server() {
  server_pid=$1
  server_pids+=("$1")
}

# wait_until COMMAND...: until it succeeds, 20 s at most.
wait_until() {
  for ((i = 0; i < 200; ++i)); do
    if "$@" > /dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  die "no answer: $*"
}

# Debian keeps each major version's programs in a directory of its own.
postgres_program() {
  local path
  path=$(find /usr/lib/postgresql/*/bin -name "$1" | sort -V | tail -n 1)
  echo "${path:?no postgres here}"
}

# Postgres refuses root.
as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)

start_redis() {
  redis-server --port 0 --unixsocket "$work_dir/redis" --save '' --appendonly no > "$work_dir/redis.log" &
  note_server $!
  wait_until redis-cli -s "$work_dir/redis" ping
}

start_nginx() {
  mkdir -p "$work_dir/nginx"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work_dir/nginx/key.pem" -out "$work_dir/nginx/certificate.pem" 2> /dev/null
  cat > "$work_dir/nginx.conf" << END
daemon off; worker_processes 1; pid $work_dir/nginx.pid; error_log $work_dir/nginx/error.log; user root;
events {}
http {
  access_log off;
  $(for part in client_body fastcgi proxy scgi uwsgi; do echo "${part}_temp_path $work_dir/nginx/$part;"; done)
  server { listen 127.0.0.1:$nginx_port; location / { root $work_dir/www; } }
  server {
    listen 127.0.0.1:$nginx_tls_port ssl;
    ssl_certificate $work_dir/nginx/certificate.pem; ssl_certificate_key $work_dir/nginx/key.pem;
    location / { root $work_dir/www; }
  }
}
END
  mkdir "$work_dir/www"
  head -c 2000 /dev/zero | tr '\0' x > "$work_dir/www/page"
  chmod -R a+rX "$work_dir/www"
  nginx -c "$work_dir/nginx.conf" 2> "$work_dir/nginx.log" &
  note_server $!
  wait_until bash -c "exec 3<> /dev/tcp/127.0.0.1/$nginx_port"
}

start_postgres() {
  mkdir "$work_dir/postgres"
  chown 65534:65534 "$work_dir/postgres"
  "${as_nobody[@]}" "$(postgres_program initdb)" -D "$work_dir/postgres/data" -U bench -A trust -N --locale=C > /dev/null
  "${as_nobody[@]}" "$(postgres_program postgres)" -D "$work_dir/postgres/data" -k "$work_dir/postgres" -c listen_addresses= \
    -c fsync=off -c autovacuum=off -c shared_buffers=64MB 2> "$work_dir/postgres.log" &
  note_server $!
  wait_until "$(postgres_program pg_isready)" -h "$work_dir/postgres" -q
  "${as_nobody[@]}" "$(postgres_program pgbench)" -h "$work_dir/postgres" -U bench -i -q postgres 2> /dev/null
}

start_node() {
  cat > "$work_dir/server.js" << 'END'
const http = require('http');
http.createServer((request, response) => {
  if (request.url === '/rows') {
    const rows = Array.from({length: 50}, (_, i) => ({id: i, name: 'x'.repeat(i), at: new Date(i).toISOString()}));
    response.end(JSON.stringify(JSON.parse(JSON.stringify(rows)).sort((a, b) => b.id - a.id)));
    return;
  }
  response.end(JSON.stringify({path: request.url, body: 'x'.repeat(2000)}));
}).listen(Number(process.argv[2]), '127.0.0.1');
END
  node "${node_options[@]}" "$work_dir/server.js" "$node_port" &
  note_server $!
  wait_until bash -c "exec 3<> /dev/tcp/127.0.0.1/$node_port"
}

# start_loop NAME COMMAND...: its program says `ready` first.
start_loop() {
  local name=$1 from to
  shift
  mkfifo "$work_dir/$name.in" "$work_dir/$name.out"
  "$@" < "$work_dir/$name.in" > "$work_dir/$name.out" &
  note_server $!
  exec {to}> "$work_dir/$name.in" {from}< "$work_dir/$name.out"
  loop_input[$name]=$to
  loop_output[$name]=$from
  read -r -t 60 -u "$from" _ || die "$name does not start"
}

# A round parses and builds documents whose strings are too long for the interpreter's own pools.
start_python_loop() {
  cat > "$work_dir/loop.py" << 'END'
import json, sys, time

def build(n):
    rows = [{"id": i, "name": "x" * (600 + 37 * i % 900), "tags": [bytes(700 + i), "y" * 800]} for i in range(60)]
    text = json.dumps([{"id": row["id"], "name": row["name"]} for row in rows])
    return len(json.loads(text)) + len(bytearray(5000 + n % 1000))

print("ready", flush=True)
for line in sys.stdin:
    begin, times = time.monotonic(), []
    while (now := time.monotonic()) - begin < float(line):
        build(len(times))
        times.append(time.monotonic() - now)
    times.sort()
    print(len(times) / (time.monotonic() - begin), 1000 * times[int(len(times) * 0.99)], len(times), flush=True)
END
  start_loop python_loop /usr/bin/python3 "$work_dir/loop.py"
}

# Buffers and typed arrays are not in the heap that V8 collects.
start_node_loop() {
  cat > "$work_dir/loop.js" << 'END'
function build(n) {
  const parts = [];
  for (let i = 0; i < 60; ++i) parts.push(Buffer.allocUnsafeSlow(600 + 37 * i % 900).fill(i), new Uint8Array(700 + i));
  const rows = Array.from({length: 20}, (_, i) => ({id: i + n, name: 'x'.repeat(i), at: new Date(i).toISOString()}));
  return Buffer.concat(parts).length + JSON.stringify(JSON.parse(JSON.stringify(rows))).length;
}
function run(seconds) {
  const begin = performance.now(), times = [];
  for (let now; (now = performance.now()) - begin < 1000 * seconds;) {
    build(times.length);
    times.push(performance.now() - now);
  }
  const passed = performance.now() - begin;
  times.sort((a, b) => a - b);
  console.log(1000 * times.length / passed, times[Math.floor(times.length * 0.99)], times.length);
}
console.log('ready');
require('readline').createInterface({input: process.stdin}).on('line', line => run(Number(line)));
END
  start_loop node_loop node "${node_options[@]}" "$work_dir/loop.js"
}
