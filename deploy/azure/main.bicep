// The same as containerapp.yaml, for those who deploy with Bicep. tests/deploy holds the names and values of both equal.
//
//   az deployment group create --resource-group RG --template-file deploy/azure/main.bicep \
//     --parameters environmentId=... identityId=... vault=https://VAULT.vault.azure.net registry=REGISTRY.azurecr.io
param location string = resourceGroup().location
param environmentId string
param identityId string
@description('The address of the Key Vault, without a slash at its end.')
param vault string
param registry string
param opikUrl string = 'https://www.comet.com/opik/api'
param opikWorkspace string = 'default'

resource worker 'Microsoft.App/containerApps@2024-03-01' = {
  name: 'worker'
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    environmentId: environmentId
    configuration: {
      activeRevisionsMode: 'Single'
      secrets: [
        { name: 'opik-api-key', keyVaultUrl: '${vault}/secrets/opik-api-key', identity: identityId }
        { name: 'otlp-token', keyVaultUrl: '${vault}/secrets/otlp-token', identity: identityId }
        { name: 'otlp-headers', keyVaultUrl: '${vault}/secrets/otlp-headers', identity: identityId }
      ]
    }
    template: {
      terminationGracePeriodSeconds: 60
      scale: { minReplicas: 1, maxReplicas: 5 }
      volumes: [
        { name: 'queue', storageType: 'EmptyDir' }
        { name: 'spool', storageType: 'EmptyDir' }
      ]
      containers: [
        {
          name: 'worker'
          image: '${registry}/worker:1.0.0'
          resources: { cpu: json('0.75'), memory: '1.5Gi' }
          env: [
            { name: 'OTEL_LLM_BACKEND', value: 'otlp' }
            { name: 'OTEL_EXPORTER_OTLP_ENDPOINT', value: 'http://127.0.0.1:4318' }
            { name: 'OTEL_EXPORTER_OTLP_PROTOCOL', value: 'http/protobuf' }
            { name: 'OTEL_EXPORTER_OTLP_HEADERS', secretRef: 'otlp-headers' }
            { name: 'OTEL_LLM_STATE_DIR', value: '/var/lib/otel_llm' }
            { name: 'OTEL_LLM_HEALTH_PORT', value: '8090' }
            { name: 'NO_PROXY', value: 'localhost,127.0.0.1,::1,169.254.169.254' }
          ]
          volumeMounts: [{ volumeName: 'spool', mountPath: '/var/lib/otel_llm' }]
        }
        {
          name: 'otelcol'
          image: '${registry}/otelcol-llm:0.1.0'
          resources: { cpu: json('0.25'), memory: '0.5Gi' }
          command: ['/linger', '15s', '/otelcol-llm']
          args: ['--config', '/etc/otelcol/config.yaml']
          env: [
            { name: 'OPIK_URL', value: opikUrl }
            { name: 'OPIK_WORKSPACE', value: opikWorkspace }
            { name: 'OPIK_API_KEY', secretRef: 'opik-api-key' }
            { name: 'OTLP_TOKEN', secretRef: 'otlp-token' }
            { name: 'OTELCOL_STATE', value: '/var/lib/otelcol' }
            { name: 'HEALTH_HOST', value: '0.0.0.0' }
            { name: 'GOMEMLIMIT', value: '400MiB' }
            { name: 'NO_PROXY', value: 'localhost,127.0.0.1,::1,169.254.169.254' }
          ]
          probes: [
            { type: 'Startup', httpGet: { path: '/', port: 13133 }, periodSeconds: 2, failureThreshold: 30 }
            { type: 'Liveness', httpGet: { path: '/', port: 13133 }, periodSeconds: 10, timeoutSeconds: 5 }
          ]
          volumeMounts: [{ volumeName: 'queue', mountPath: '/var/lib/otelcol' }]
        }
      ]
    }
  }
}
