{{/* The release's name in front of everything. */}}
{{- define "murmuration.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* (list $ "api"): the name of a part. */}}
{{- define "murmuration.name" -}}
{{- printf "%s-%s" (include "murmuration.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{/* (list $ "api"): what selects a part's pods; never changed, a Deployment's selector can't be. */}}
{{- define "murmuration.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "murmuration.labels" -}}
{{ include "murmuration.selector" . }}
app.kubernetes.io/part-of: murmuration
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end -}}

{{/* (list $ "api" "worker"): a selector of the pods of several parts. */}}
{{- define "murmuration.anyOf" -}}
matchLabels:
  app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
  app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
matchExpressions:
  - { key: app.kubernetes.io/component, operator: In, values: [{{ rest . | join ", " }}] }
{{- end -}}

{{/* (list $ $.Values.api.image): an image of ours, by its digest where there is one. */}}
{{- define "murmuration.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $tag := $image.tag | default (ternary "" $root.Chart.AppVersion (ne $image.digest "")) -}}
{{- $root.Values.image.registry | trimSuffix "/" | eq "" | ternary "" (printf "%s/" (trimSuffix "/" $root.Values.image.registry)) -}}
{{- include "murmuration.tagged" (dict "repository" $image.repository "tag" $tag "digest" $image.digest) -}}
{{- end -}}

{{- define "murmuration.tagged" -}}
{{- .repository -}}{{- with .tag }}:{{ . }}{{ end -}}{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* (list $ "api" $.Values.api): what all our pods have in common. */}}
{{- define "murmuration.pod" -}}
{{- $root := index . 0 -}}
{{- $part := index . 2 -}}
serviceAccountName: {{ include "murmuration.name" (list $root (index . 1)) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $part.priorityClassName | default (include "murmuration.priority" (list $root (index . 1))) }}
priorityClassName: {{ . }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $part $field }}
{{ $field }}:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "murmuration.priority" -}}
{{- if (index . 0).Values.priorityClasses.create -}}
{{- include "murmuration.name" (list (index . 0) (ternary "computing" "serving" (has (index . 1) (list "worker" "models" "backup")))) -}}
{{- end -}}
{{- end -}}

{{/* (list $ "api"): over nodes, and over zones where there are any. */}}
{{- define "murmuration.spread" -}}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ (index $ 0).Values.topologySpread.whenUnsatisfiable }}
    labelSelector: { matchLabels: { {{ include "murmuration.selector" $ | replace "\n" ", " }} } }
{{- end }}
{{- end -}}

{{- define "murmuration.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
{{- end -}}

{{/* The ledger's URL, and the password in it, from secrets. */}}
{{- define "murmuration.ledgerEnv" -}}
{{- if .Values.redis.enabled -}}
{{ include "murmuration.redisPassword" . }}
- name: MURMUR_LEDGER__URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "murmuration.name" (list . "redis") }}:6379/0
{{- else -}}
- name: MURMUR_LEDGER__URL
  valueFrom: { secretKeyRef: { name: {{ .Values.externalRedis.existingSecret }}, key: url } }
{{- end -}}
{{- end -}}

{{- define "murmuration.redisPassword" -}}
- name: REDIS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "murmuration.redisSecret" . }}, key: password } }
{{- end -}}

{{- define "murmuration.redisSecret" -}}
{{- .Values.redis.existingSecret | default (include "murmuration.name" (list . "redis")) -}}
{{- end -}}

{{/* Keys of a bucket: (dict "secret" … "region" …); without a secret by the service account's role. */}}
{{- define "murmuration.bucketEnv" -}}
{{- with .region }}
- { name: AWS_REGION, value: {{ . | quote }} }
{{- end }}
{{- $secret := .secret }}
{{- if $secret }}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- { name: {{ $name }}, valueFrom: { secretKeyRef: { name: {{ $secret }}, key: {{ $name }} } } }
{{- end }}
{{- end }}
{{- end -}}

{{- define "murmuration.blobsEnv" -}}
{{- if .Values.blobs.url -}}
{{ include "murmuration.bucketEnv" (dict "region" .Values.blobs.region "secret" .Values.blobs.existingSecret) | trim }}
{{- end -}}
{{- end -}}

{{/* Recordings: a claim that all share, or, where they are in a bucket, copies of a pod's own. */}}
{{- define "murmuration.dataVolume" -}}
- name: data
{{- if .Values.blobs.url }}
  emptyDir: { sizeLimit: {{ .Values.blobs.cacheSize }} }
{{- else }}
  persistentVolumeClaim: { claimName: {{ .Values.data.existingClaim | default (include "murmuration.name" (list . "data")) }} }
{{- end }}
{{- end -}}

{{- define "murmuration.keysVolume" -}}
{{- with .Values.encryption.existingSecret }}
- name: keys
  secret: { secretName: {{ . }}, items: [{ key: keys, path: keys }], defaultMode: 0440 }
{{- end }}
{{- end -}}

{{- define "murmuration.keysMount" -}}
{{- if .Values.encryption.existingSecret }}
- { name: keys, mountPath: /run/murmur, readOnly: true }
{{- end }}
{{- end -}}

{{- define "murmuration.modelsClaim" -}}
{{- .Values.models.existingClaim | default (include "murmuration.name" (list . "models")) -}}
{{- end -}}

{{/* What the fetching of models needs to know, and nobody else. */}}
{{- define "murmuration.fetchModels" -}}
- name: models
  image: {{ include "murmuration.image" (list . .Values.worker.image) }}
  command: [python, -m, worker.download_models]
  envFrom:
    - configMapRef: { name: {{ include "murmuration.name" (list . "settings") }} }
    - configMapRef: { name: {{ include "murmuration.name" (list . "worker") }} }
{{- with .Values.models.existingSecret }}
    - secretRef: { name: {{ . }} }
{{- end }}
{{- with .Values.models.hub }}
  env: [{ name: HF_ENDPOINT, value: {{ . | quote }} }]
{{- end }}
  resources:
    requests: { cpu: 100m, memory: 256Mi }
    limits: { memory: 1Gi }
{{ include "murmuration.container" . | indent 2 }}
  volumeMounts:
    - { name: models, mountPath: /data/models }
    - { name: tmp, mountPath: /tmp }
{{- end -}}

{{/* Of all platforms that a Prometheus may know, this one. */}}
{{- define "murmuration.ours" -}}
{namespace="{{ .Release.Namespace }}"}
{{- end -}}

{{/*
Seconds that one worker would need for what waits and for what is claimed and not transcribed yet, at the mean of the
speeds that workers have measured of themselves, the last one known; 1 where none was measured yet. Without a queue's
figure it is nothing at all, and not 0: who scales must not take that for an empty queue.
*/}}
{{- define "murmuration.backlogQuery" -}}
{{- $of := include "murmuration.ours" . -}}
(sum(murmur_queue_audio_seconds{{ $of }}) + sum(murmur_running_audio_seconds{{ $of }}))
  / clamp_min(max(last_over_time(murmur_worker_speed_audio_seconds_per_second{{ $of }}[1d])) or vector(1), 0.1)
{{- end -}}

{{/* Workers that hold something: fewer would be to take one's work away. */}}
{{- define "murmuration.busyQuery" -}}
sum(murmur_workers_busy{{ include "murmuration.ours" . }})
{{- end -}}

{{/* A size of Redis' (1gb) or of Kubernetes' (3Gi) in bytes. */}}
{{- define "murmuration.bytes" -}}
{{- $unit := regexFind "[A-Za-z]+$" . | lower | trimSuffix "b" | trimSuffix "i" -}}
{{- $each := get (dict "" 1 "k" 1024 "m" 1048576 "g" 1073741824 "t" 1099511627776) $unit | default 1 -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) $each | int64 -}}
{{- end -}}

{{/* Of the two that the API knows one may be set; minAvailable wins over the default of the other. */}}
{{- define "murmuration.budget" -}}
{{- if hasKey . "minAvailable" -}}
minAvailable: {{ .minAvailable }}
{{- else -}}
maxUnavailable: {{ .maxUnavailable }}
{{- end -}}
{{- end -}}

{{- define "murmuration.scaleBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies: [{ type: Percent, value: 100, periodSeconds: 60 }, { type: Pods, value: 4, periodSeconds: 60 }]
scaleDown:
  stabilizationWindowSeconds: {{ .Values.worker.autoscaling.scaleDownWindowSeconds }}
  policies: [{ type: Percent, value: 25, periodSeconds: 120 }]
  selectPolicy: Max
{{- end -}}
