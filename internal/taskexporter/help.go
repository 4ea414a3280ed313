// SPDX-License-Identifier: Apache-2.0

package taskexporter

// helpTexts say what each option is for.
var helpTexts = map[string]string{
	"broker-url": "URL of the broker. Better in the environment, which fewer people may read.",
	"broker-transport-option": "Transport option of the Celery application: global_keyprefix, master_name, " +
		"sentinel_kwargs, fanout_prefix, fanout_patterns, priority_steps, sep, unacked_key, " +
		"login_method. May be repeated.",
	"broker-ssl-option": "TLS option: ca_certs, certfile, keyfile, cert_reqs (CERT_NONE, CERT_REQUIRED), " +
		"check_hostname, server_hostname. Any turns TLS on. May be repeated.",
	"accept-content": "Accepted and without effect: JSON, MessagePack and YAML are read, and anything else " +
		"counted as malformed.",
	"retry-interval": "Accepted and without effect: lost connections are made again for ever, with growing " +
		"pauses.",
	"host":    "Address to listen on.",
	"port":    "Port to listen on.",
	"buckets": "Upper bounds of the runtime histogram, in seconds.",
	"queue-wait-buckets": "" +
		"Upper bounds of the queue wait histogram, in seconds. It needs task_send_sent_event in the " +
		"clients.",
	"metric-prefix":    "What all names of metrics begin with.",
	"static-label":     "Label that every metric carries. May be repeated.",
	"event-exchange":   "The application's event_exchange.",
	"control-exchange": "The application's control_exchange.",
	"handover": "Name of a group of exporters of which one counts at a time: a new one takes over from the old one " +
		"without a gap. A user of Redis must be allowed to use the group's channel.",
	"log-level": "DEBUG, INFO, WARNING or ERROR.",
	"native-histograms": "" +
		"Add native histograms to the classic ones, for scrapers that ask for protobuf. " +
		"Each counts as 160 series.",
	"max-series": "Limit of the series of tasks, a fifth of it for those of clients. What is beyond is counted under " +
		"\"overflow\".",
	"worker-timeout": "Seconds without a heartbeat after which a worker counts as lost. 0: never.",
	"purge-offline-worker-metrics": "" +
		"Seconds without a heartbeat after which the series of a worker's host are removed. 0: " +
		"never.",
	"generic-hostname-task-sent-metric": "Put \"generic\" in place of the client's host name in task_sent.",
	"hostname": "" +
		"What the label hostname shows: \"worker\": the worker's host, which is a new one for each Pod; \"node\": what is " +
		"before " +
		"the @ of its node name, which the Pods of a Deployment share; \"none\": generic. Clients are generic in the " +
		"last two.",
	"purge-idle-task-metrics": "" +
		"Seconds without an event after which the series of a task are removed on a host that lives. 0: never.",
	"generic-hostname-worker-task-metric": "" +
		"Put \"generic\" in place of the worker's host name in all other series of tasks.",
	"queues":             "Queues to show even before a worker consumes them, separated by commas.",
	"default-queue-name": "Queue name of tasks whose queue is not known.",
	"enable-events": "Make workers that send no task events send them, again and again, so that new workers are " +
		"caught.",
	"inspect-interval": "Seconds between questions to workers about their queues and pools, at least 30.",
	"queue-interval":   "Seconds between readings of queue depths.",
	"purge-idle-client-metrics": "" +
		"Seconds after which the series of a host are removed that is no worker and sent no task. " +
		"0: never.",
	"no-inspect":       "Ask workers nothing: no queues and processes of workers.",
	"no-queue-lengths": "Do not read the lengths of queues.",
	"no-unacked":       "Do not read the number of messages that are not acknowledged (Redis only).",
	"web.config.file": "File with TLS and basic authentication for all paths, as for Prometheus' own exporters: " +
		"https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md.",
	"max-tasks":        "Limit of the unfinished tasks that are stored, about 110 bytes each.",
	"max-label-length": "Limit of the length of a label's value, in bytes.",
	"max-backlog-bytes": "" +
		"Limit of the messages that were read and not processed yet, in bytes. What is beyond is " +
		"dropped and counted.",
}
