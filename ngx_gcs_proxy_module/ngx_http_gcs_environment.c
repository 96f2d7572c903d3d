
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * What Google's and AWS's own clients take from the environment.  It is read
 * while the master reads the configuration: nginx clears the environment of
 * its workers.
 */


#define NGX_HTTP_GCS_WELL_KNOWN  "/application_default_credentials.json"
#define NGX_HTTP_GCS_CONTAINER   "http://169.254.170.2"
#define NGX_HTTP_GCS_AWS         "http://169.254.169.254"


static char *ngx_http_gcs_environment_get(ngx_conf_t *cf, char *name,
    ngx_str_t *value);
static char *ngx_http_gcs_environment_well_known(ngx_conf_t *cf,
    ngx_str_t *file);
static ngx_uint_t ngx_http_gcs_environment_google(void);
static char *ngx_http_gcs_environment_aws_urls(ngx_conf_t *cf,
    ngx_gcs_aws_environment_t *aws);
static char *ngx_http_gcs_environment_agent(ngx_conf_t *cf,
    ngx_gcs_aws_environment_t *aws);
static char *ngx_http_gcs_environment_invalid(ngx_conf_t *cf, char *name);


/*
 * A copy of the variable's value, empty if it is not set.  The name is added
 * to the "env" directives, so that a new binary, which nginx gives only those
 * variables, finds the same identity.
 */

static char *
ngx_http_gcs_environment_get(ngx_conf_t *cf, char *name, ngx_str_t *value)
{
    char             *text;
    size_t            len;
    ngx_str_t        *env;
    ngx_uint_t        i;
    ngx_core_conf_t  *ccf;

    ngx_str_null(value);

    text = getenv(name);

    if (text == NULL || *text == '\0') {
        return NGX_CONF_OK;
    }

    value->len = ngx_strlen(text);
    value->data = ngx_pnalloc(cf->pool, value->len + 1);

    if (value->data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(value->data, text, value->len + 1);

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);
    len = ngx_strlen(name);
    env = ccf->env.elts;

    for (i = 0; i < ccf->env.nelts; i++) {
        if (ngx_strncmp(env[i].data, name, len) == 0
            && (env[i].data[len] == '\0' || env[i].data[len] == '='))
        {
            return NGX_CONF_OK;
        }
    }

    env = ngx_array_push(&ccf->env);
    if (env == NULL) {
        return NGX_CONF_ERROR;
    }

    env->len = len;
    env->data = (u_char *) name;

    return NGX_CONF_OK;
}


/*
 * The order of Google's clients.  A file that is named and broken is an
 * error: to be somebody else silently would be worse.
 * (https://google.aip.dev/auth/4110)
 */

char *
ngx_http_gcs_environment_default(ngx_conf_t *cf, ngx_gcs_source_t *source)
{
    ngx_str_t         check;
    ngx_file_info_t   fi;

    if (ngx_http_gcs_environment_get(cf, "GOOGLE_APPLICATION_CREDENTIALS",
                                     &source->file)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (source->file.len) {
        return NGX_CONF_OK;
    }

    if (ngx_http_gcs_environment_well_known(cf, &source->file)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (source->file.len) {

        if (ngx_file_info(source->file.data, &fi) != NGX_FILE_ERROR
            || (ngx_errno != NGX_ENOENT && ngx_errno != NGX_ENOTDIR))
        {
            return NGX_CONF_OK;
        }

        ngx_str_null(&source->file);
    }

    if (ngx_http_gcs_environment_get(cf, "NO_GCE_CHECK", &check)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (check.len == 4
        && ngx_strncasecmp(check.data, (u_char *) "true", 4) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no application default credentials: "
                           "GOOGLE_APPLICATION_CREDENTIALS is not set, there "
                           "is no \"gcloud" NGX_HTTP_GCS_WELL_KNOWN "\", and "
                           "NO_GCE_CHECK rules out the metadata server");
        return NGX_CONF_ERROR;
    }

    source->preset.type = NGX_GCS_METADATA_SERVER;

    if (ngx_http_gcs_environment_metadata(cf, &source->preset.metadata_host)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    source->preset.patient = source->preset.metadata_host.len != 0
                             || ngx_http_gcs_environment_google();

    return NGX_CONF_OK;
}


/* the file that "gcloud auth application-default login" writes */

static char *
ngx_http_gcs_environment_well_known(ngx_conf_t *cf, ngx_str_t *file)
{
    char       *folder;
    ngx_str_t   base;

    folder = "";

    if (ngx_http_gcs_environment_get(cf, "CLOUDSDK_CONFIG", &base)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (base.len == 0) {
        folder = "/.config/gcloud";

        if (ngx_http_gcs_environment_get(cf, "HOME", &base) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }

        if (base.len == 0) {
            return NGX_CONF_OK;
        }
    }

    file->data = ngx_pnalloc(cf->pool,
                             base.len + ngx_strlen(folder)
                             + sizeof(NGX_HTTP_GCS_WELL_KNOWN));
    if (file->data == NULL) {
        return NGX_CONF_ERROR;
    }

    file->len = ngx_sprintf(file->data, "%V%s" NGX_HTTP_GCS_WELL_KNOWN "%Z",
                            &base, folder)
                - file->data - 1;

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_environment_metadata(ngx_conf_t *cf, ngx_str_t *host)
{
    if (ngx_http_gcs_environment_get(cf, "GCE_METADATA_HOST", host)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (host->len == 0
        && ngx_http_gcs_environment_get(cf, "GCE_METADATA_ROOT", host)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (host->len == 0 || ngx_gcs_credentials_metadata_host(host)) {
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid GCE_METADATA_HOST \"%V\" in the environment; "
                       "tokens come from it without TLS, so it must be "
                       "\"169.254.169.254\", \"metadata.google.internal\" or "
                       "a loopback address", host);

    return NGX_CONF_ERROR;
}


/*
 * Whether this is surely Google Cloud; the network is not asked.  Then a
 * metadata server that does not answer yet is waited for.
 */

static ngx_uint_t
ngx_http_gcs_environment_google(void)
{
    u_char    buf[16];
    ssize_t   n;
    ngx_fd_t  fd;

    if (getenv("K_SERVICE") || getenv("CLOUD_RUN_JOB")
        || getenv("FUNCTION_NAME"))
    {
        return 1;
    }

    fd = ngx_open_file((u_char *) "/sys/class/dmi/id/product_name",
                       NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        return 0;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));

    (void) ngx_close_file(fd);

    return n >= 6 && ngx_strncmp(buf, "Google", 6) == 0;
}


ngx_gcs_aws_environment_t *
ngx_http_gcs_environment_aws(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    size_t                      i;
    ngx_gcs_aws_environment_t  *aws;

    aws = &gmcf->aws;

    if (gmcf->aws_known) {
        return aws;
    }

    if (ngx_http_gcs_environment_get(cf, "AWS_ACCESS_KEY_ID",
                                     &aws->keys.access_key_id)
        != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_SECRET_ACCESS_KEY",
                                        &aws->keys.secret_access_key)
           != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_SESSION_TOKEN",
                                        &aws->keys.session_token)
           != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_REGION", &aws->region)
           != NGX_CONF_OK
        || (aws->region.len == 0
            && ngx_http_gcs_environment_get(cf, "AWS_DEFAULT_REGION",
                                            &aws->region)
               != NGX_CONF_OK)
        || ngx_http_gcs_environment_get(cf, "AWS_ROLE_ARN", &aws->role_arn)
           != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_ROLE_SESSION_NAME",
                                        &aws->role_session_name)
           != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        &aws->web_identity_token_file)
           != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_CONTAINER_AUTHORIZATION_"
                                        "TOKEN", &aws->container_token)
           != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_CONTAINER_AUTHORIZATION_"
                                        "TOKEN_FILE",
                                        &aws->container_token_file)
           != NGX_CONF_OK)
    {
        return NULL;
    }

    if (aws->container_token_file.len) {
        ngx_str_null(&aws->container_token);
    }

    for (i = 0; i < aws->container_token.len; i++) {
        if (aws->container_token.data[i] < ' '
            || aws->container_token.data[i] >= 0x7f)
        {
            (void) ngx_http_gcs_environment_invalid(cf, "AWS_CONTAINER_"
                                                    "AUTHORIZATION_TOKEN");
            return NULL;
        }
    }

    if (aws->keys.access_key_id.len == 0
        || aws->keys.secret_access_key.len == 0)
    {
        ngx_memzero(&aws->keys, sizeof(ngx_gcs_aws_keys_t));

    } else if (ngx_gcs_aws_check_keys(&aws->keys) != NGX_OK) {
        (void) ngx_http_gcs_environment_invalid(cf, "AWS_ACCESS_KEY_ID, "
                                                "AWS_SECRET_ACCESS_KEY or "
                                                "AWS_SESSION_TOKEN");
        return NULL;
    }

    if (ngx_http_gcs_environment_aws_urls(cf, aws) != NGX_CONF_OK
        || ngx_http_gcs_environment_agent(cf, aws) != NGX_CONF_OK)
    {
        return NULL;
    }

    gmcf->aws_known = 1;

    return aws;
}


/* what AWS's own clients take, too, to reach another endpoint */

static char *
ngx_http_gcs_environment_aws_urls(ngx_conf_t *cf,
    ngx_gcs_aws_environment_t *aws)
{
    if (ngx_http_gcs_environment_get(cf, "AWS_ENDPOINT_URL_STS",
                                     &aws->sts_url)
        != NGX_CONF_OK
        || ngx_http_gcs_environment_get(cf, "AWS_EC2_METADATA_SERVICE_"
                                        "ENDPOINT", &aws->metadata_url)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (aws->sts_url.len && !ngx_gcs_credentials_url_secure(&aws->sts_url)) {
        return ngx_http_gcs_environment_invalid(cf, "AWS_ENDPOINT_URL_STS");
    }

    if (aws->metadata_url.len == 0) {
        ngx_str_set(&aws->metadata_url, NGX_HTTP_GCS_AWS);
        return NGX_CONF_OK;
    }

    if (!ngx_gcs_credentials_url_local(&aws->metadata_url)) {
        return ngx_http_gcs_environment_invalid(cf, "AWS_EC2_METADATA_"
                                                "SERVICE_ENDPOINT");
    }

    if (aws->metadata_url.data[aws->metadata_url.len - 1] == '/') {
        aws->metadata_url.len--;
    }

    return NGX_CONF_OK;
}


/* the agent that hands out the keys of a task or a pod */

static char *
ngx_http_gcs_environment_agent(ngx_conf_t *cf, ngx_gcs_aws_environment_t *aws)
{
    u_char     *p;
    ngx_str_t   path;

    if (ngx_http_gcs_environment_get(cf, "AWS_CONTAINER_CREDENTIALS_"
                                     "RELATIVE_URI", &path)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (path.len) {
        p = ngx_pnalloc(cf->pool, sizeof(NGX_HTTP_GCS_CONTAINER) + path.len);
        if (p == NULL) {
            return NGX_CONF_ERROR;
        }

        aws->container_url.data = p;
        aws->container_url.len = ngx_sprintf(p, NGX_HTTP_GCS_CONTAINER "%V",
                                             &path)
                                 - p;

    } else if (ngx_http_gcs_environment_get(cf, "AWS_CONTAINER_CREDENTIALS_"
                                            "FULL_URI", &aws->container_url)
               != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (aws->container_url.len
        && !ngx_gcs_aws_container_url_allowed(&aws->container_url))
    {
        return ngx_http_gcs_environment_invalid(cf, "AWS_CONTAINER_"
                                                "CREDENTIALS_FULL_URI");
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_environment_invalid(ngx_conf_t *cf, char *name)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid %s in the environment", name);

    return NGX_CONF_ERROR;
}
