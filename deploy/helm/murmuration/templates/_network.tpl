{{/* A rule to the ledger: the chart's own, or where another one is. */}}
{{- define "murmuration.toLedger" -}}
{{- if .Values.redis.enabled -}}
- to: [{ podSelector: { matchLabels: { {{ include "murmuration.selector" (list . "redis") | replace "\n" ", " }} } } }]
  ports: [{ port: 6379 }]
{{- else -}}
- to:
{{- range .Values.externalRedis.cidrs }}
    - ipBlock: { cidr: {{ . }} }
{{- end }}
  ports: [{ port: {{ .Values.externalRedis.port }} }]
{{- end -}}
{{- end -}}

{{/* Every address that isn't inside. */}}
{{- define "murmuration.publicBlocks" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [{{ .Values.network.private | join ", " }}]
{{- with .Values.network.publicIPv6 }}
- ipBlock: { cidr: {{ . | quote }} }
{{- end }}
{{- end -}}

{{/* (list $ $.Values.blobs): a rule to where a bucket is. */}}
{{- define "murmuration.toBucket" -}}
{{- $root := index . 0 -}}
{{- $bucket := index . 1 -}}
- to:
{{- range $bucket.cidrs }}
    - ipBlock: { cidr: {{ . }} }
{{- else }}
{{ include "murmuration.publicBlocks" $root | indent 4 }}
{{- end }}
  ports: [{ port: {{ $bucket.port }} }]
{{- end -}}
