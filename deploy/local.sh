#!/usr/bin/env bash
# PostgreSQL, an S3 store and MLflow's server on this machine alone, to try a team's set-up without Docker.
#   deploy/local.sh start    starts them and writes team.env: where they are, with fresh passwords
#   deploy/local.sh stop     ends them and removes all that they kept
# Needs Debian's package postgresql, and `make setup`. The S3 store is moto's: it keeps objects in memory.
set -euo pipefail
umask 077
postgres_port=15432 s3_port=18333 mlflow_port=15000

as_postgres() {  # PostgreSQL refuses to run as root
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

start() {
  [ ! -e team.env ] || { echo "team.env is here already: deploy/local.sh stop, first" >&2; exit 1; }
  local folder programs password secret
  programs=$(find /usr/lib/postgresql/*/bin -name initdb -printf '%h\n' 2> /dev/null | sort -V | tail -n 1)
  [ -n "$programs" ] || { echo "PostgreSQL is not installed: apt-get install postgresql" >&2; exit 1; }
  folder=$(mktemp -d /tmp/team-of-losstune.XXXXXX)
  password=$(openssl rand -hex 16) secret=$(openssl rand -hex 16)
  cat > team.env <<END
export LOSSTUNE_STUDY_STORAGE=postgresql://losstune:$password@127.0.0.1:$postgres_port/losstune
export LOSSTUNE_STORAGE=s3://losstune/team
export LOSSTUNE_TRACKING_URI=http://127.0.0.1:$mlflow_port
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:$s3_port AWS_DEFAULT_REGION=us-east-1
export AWS_ACCESS_KEY_ID=losstune AWS_SECRET_ACCESS_KEY=$secret
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(openssl rand -hex 32) RAY_USAGE_STATS_ENABLED=0
team_folder=$folder team_programs=$programs
END
  . ./team.env
  touch "$folder/pids"
  start_postgres "$password"
  start_s3
  start_mlflow "$password"
  echo "PostgreSQL, an S3 store and MLflow on http://127.0.0.1:$mlflow_port; where they are is in team.env"
}

start_postgres() {
  mkdir "$team_folder/postgres"
  echo "$1" > "$team_folder/postgres/password"
  if [ "$(id -u)" = 0 ]; then chmod 711 "$team_folder" && chown -R postgres: "$team_folder/postgres"; fi
  cd "$team_folder/postgres"
  as_postgres "$team_programs/initdb" --pgdata data --username losstune --auth scram-sha-256 --pwfile password \
    --encoding UTF8 --locale C > initdb.log
  as_postgres "$team_programs/pg_ctl" start --wait --pgdata data --log server.log > pg_ctl.log \
    --options "-p $postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$PWD"
  for database in losstune mlflow; do
    PGPASSWORD=$1 "$team_programs/createdb" --host 127.0.0.1 --port $postgres_port --username losstune $database
  done
  cd "$OLDPWD"
}

start_s3() {
  in_background s3 $s3_port moto_server --host 127.0.0.1 --port $s3_port
  python -c 'import boto3; boto3.client("s3").create_bucket(Bucket="losstune")'
}

start_mlflow() {
  export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg://losstune:$1@127.0.0.1:$postgres_port/mlflow
  export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
  in_background mlflow $mlflow_port mlflow server --host 127.0.0.1 --port $mlflow_port --workers 1 \
    --allowed-hosts "127.0.0.1:$mlflow_port,localhost:$mlflow_port" --artifacts-destination s3://losstune/mlflow
}

in_background() {  # NAME PORT COMMAND…: returns once it listens
  setsid "${@:3}" > "$team_folder/$1.log" 2>&1 < /dev/null &
  echo $! >> "$team_folder/pids"
  for _ in $(seq 300); do
    if (: < "/dev/tcp/127.0.0.1/$2") 2> /dev/null; then return; fi
    sleep 0.2
  done
  echo "$1 does not answer: $team_folder/$1.log" >&2
  exit 1
}

stop() {
  . ./team.env
  local pid
  while read -r pid; do
    kill -- "-$pid" 2> /dev/null || true
    while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
  done < "$team_folder/pids"
  cd "$team_folder/postgres" && as_postgres "$team_programs/pg_ctl" stop --mode fast --pgdata data > /dev/null || true
  cd "$OLDPWD"
  rm -rf "$team_folder" team.env
}

case ${1:-} in
  start | stop) "$1" ;;
  *) echo "deploy/local.sh start | stop" >&2; exit 2 ;;
esac
