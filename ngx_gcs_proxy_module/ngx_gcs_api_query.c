
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"
#include "ngx_gcs_unescape.h"


/* the parameters of requests: what is known, and what is not passed */


#define NGX_GCS_API_WRITTEN                                                   \
    (NGX_GCS_API_GET|NGX_GCS_API_DELETE|NGX_GCS_API_UPDATE|NGX_GCS_API_COPY   \
     |NGX_GCS_API_COMPOSE|NGX_GCS_API_UPLOAD|NGX_GCS_API_MOVE)

#define NGX_GCS_API_COPIES  (NGX_GCS_API_COPY|NGX_GCS_API_MOVE)

#define NGX_GCS_API_LISTS  (NGX_GCS_API_LIST|NGX_GCS_API_XML_LIST)

#define NGX_GCS_API_PIECES                                                    \
    (NGX_GCS_API_XML_PART|NGX_GCS_API_XML_PARTS|NGX_GCS_API_XML_COMPLETE      \
     |NGX_GCS_API_XML_ABORT)

#define NGX_GCS_API_PARAMS_MAX  64


typedef struct {
    ngx_str_t    name;
    ngx_uint_t   ops;
} ngx_gcs_api_known_t;


typedef struct {
    ngx_str_t    name;            /* a beginning, if it ends with "-" */
    char        *error;
    char        *text;
} ngx_gcs_api_forbidden_t;


static ngx_int_t ngx_gcs_api_query_param(ngx_gcs_api_t *api, u_char *p,
    u_char *last);
static ngx_int_t ngx_gcs_api_query_forbidden(ngx_gcs_api_t *api,
    ngx_str_t *name);
static ngx_int_t ngx_gcs_api_query_value(ngx_gcs_api_t *api,
    ngx_gcs_api_param_t *param);
static ngx_uint_t ngx_gcs_api_query_is(ngx_str_t *name, char *text);


/* https://cloud.google.com/storage/docs/json_api/v1, .../docs/xml-api */

static ngx_gcs_api_known_t  ngx_gcs_api_known[] = {
    { ngx_string("alt"), NGX_GCS_API_JSON_ALL },
    { ngx_string("contentEncoding"), NGX_GCS_API_UPLOAD },
    { ngx_string("continuation-token"), NGX_GCS_API_XML_LIST },
    { ngx_string("delimiter"), NGX_GCS_API_LISTS },
    { ngx_string("encoding-type"), NGX_GCS_API_XML_LIST|NGX_GCS_API_PIECES },
    { ngx_string("endOffset"), NGX_GCS_API_LIST },
    { ngx_string("fetch-owner"), NGX_GCS_API_XML_LIST },
    { ngx_string("fields"), NGX_GCS_API_JSON_ALL },
    { ngx_string("filter"), NGX_GCS_API_LIST },
    { ngx_string("force"), NGX_GCS_API_DELETE },
    { ngx_string("generation"),
      NGX_GCS_API_GET|NGX_GCS_API_DELETE|NGX_GCS_API_UPDATE
      |NGX_GCS_API_XML_GET|NGX_GCS_API_XML_DELETE },
    { ngx_string("generation-marker"), NGX_GCS_API_XML_LIST },
    { ngx_string("ifGenerationMatch"), NGX_GCS_API_WRITTEN },
    { ngx_string("ifGenerationNotMatch"), NGX_GCS_API_WRITTEN },
    { ngx_string("ifMetagenerationMatch"),
      NGX_GCS_API_WRITTEN|NGX_GCS_API_BUCKET },
    { ngx_string("ifMetagenerationNotMatch"),
      NGX_GCS_API_WRITTEN|NGX_GCS_API_BUCKET },
    { ngx_string("ifSourceGenerationMatch"), NGX_GCS_API_COPIES },
    { ngx_string("ifSourceGenerationNotMatch"), NGX_GCS_API_COPIES },
    { ngx_string("ifSourceMetagenerationMatch"), NGX_GCS_API_COPIES },
    { ngx_string("ifSourceMetagenerationNotMatch"), NGX_GCS_API_COPIES },
    { ngx_string("includeFoldersAsPrefixes"), NGX_GCS_API_LIST },
    { ngx_string("includeTrailingDelimiter"), NGX_GCS_API_LIST },
    { ngx_string("key"), NGX_GCS_API_JSON_ALL },
    { ngx_string("list-type"), NGX_GCS_API_XML_LIST },
    { ngx_string("marker"), NGX_GCS_API_XML_LIST },
    { ngx_string("matchGlob"), NGX_GCS_API_LIST },
    { ngx_string("max-keys"), NGX_GCS_API_XML_LIST },
    { ngx_string("max-parts"), NGX_GCS_API_XML_PARTS },
    { ngx_string("maxBytesRewrittenPerCall"), NGX_GCS_API_COPY },
    { ngx_string("maxResults"), NGX_GCS_API_LIST },
    { ngx_string("name"), NGX_GCS_API_UPLOAD|NGX_GCS_API_SESSION },
    { ngx_string("pageToken"), NGX_GCS_API_LIST },
    { ngx_string("part-number-marker"), NGX_GCS_API_XML_PARTS },
    { ngx_string("partNumber"), NGX_GCS_API_XML_PART },
    { ngx_string("permissions"), NGX_GCS_API_PERMISSIONS },
    { ngx_string("prefix"), NGX_GCS_API_LISTS|NGX_GCS_API_LAYOUT },
    { ngx_string("prettyPrint"), NGX_GCS_API_JSON_ALL },
    { ngx_string("projection"),
      NGX_GCS_API_BUCKET|NGX_GCS_API_LIST|NGX_GCS_API_GET|NGX_GCS_API_UPDATE
      |NGX_GCS_API_COPIES|NGX_GCS_API_UPLOAD },
    { ngx_string("rewriteToken"), NGX_GCS_API_COPY },
    { ngx_string("softDeleted"), NGX_GCS_API_LIST|NGX_GCS_API_GET },
    { ngx_string("sourceGeneration"), NGX_GCS_API_COPY },
    { ngx_string("start-after"), NGX_GCS_API_XML_LIST },
    { ngx_string("startOffset"), NGX_GCS_API_LIST },
    { ngx_string("upload_id"), NGX_GCS_API_SESSIONS },
    { ngx_string("uploadId"), NGX_GCS_API_PIECES },
    { ngx_string("uploads"), NGX_GCS_API_XML_INITIATE },
    { ngx_string("uploadType"), NGX_GCS_API_UPLOAD|NGX_GCS_API_SESSION },
    { ngx_string("userProject"), NGX_GCS_API_JSON_ALL|NGX_GCS_API_XML_ALL },
    { ngx_string("versions"), NGX_GCS_API_LISTS },
    { ngx_null_string, 0 }
};


/* what would be another one's word for who asks, or would let others in */

static ngx_gcs_api_forbidden_t  ngx_gcs_api_forbidden[] = {

    { ngx_string("predefinedAcl"), "api_acl",
      "who may read an object is not set through \"gcs_api\"" },
    { ngx_string("destinationPredefinedAcl"), "api_acl",
      "who may read an object is not set through \"gcs_api\"" },

    { ngx_string("access_token"), "api_credential",
      "a credential in the query, \"gcs_api\" has its own" },
    { ngx_string("oauth_token"), "api_credential",
      "a credential in the query, \"gcs_api\" has its own" },
    { ngx_string("signature"), "api_credential",
      "a signed URL, \"gcs_api\" asks with its own credential" },
    { ngx_string("googleaccessid"), "api_credential",
      "a signed URL, \"gcs_api\" asks with its own credential" },
    { ngx_string("awsaccesskeyid"), "api_credential",
      "a signed URL, \"gcs_api\" asks with its own credential" },
    { ngx_string("x-goog-"), "api_credential",
      "a signed URL, \"gcs_api\" asks with its own credential" },
    { ngx_string("x-amz-"), "api_credential",
      "a signed URL, \"gcs_api\" asks with its own credential" },

    { ngx_null_string, NULL, NULL }
};


ngx_int_t
ngx_gcs_api_query(ngx_gcs_api_t *api)
{
    u_char     *p, *last, *end;
    ngx_int_t   rc;

    if (ngx_array_init(&api->params, api->pool, 8,
                       sizeof(ngx_gcs_api_param_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (api->args.len == 0) {
        return NGX_OK;
    }

    p = api->args.data;
    last = p + api->args.len;

    while (p < last) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        if (end != p) {
            rc = ngx_gcs_api_query_param(api, p, end);
            if (rc != NGX_OK) {
                return rc;
            }
        }

        p = end + 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_api_query_param(ngx_gcs_api_t *api, u_char *p, u_char *last)
{
    u_char               *eq;
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_gcs_api_param_t  *param, *other;
    ngx_gcs_api_known_t  *known;

    if (api->params.nelts == NGX_GCS_API_PARAMS_MAX) {
        return ngx_gcs_api_refuse(api, 400, "invalid_query",
                                  "too many parameters in the query");
    }

    param = ngx_array_push(&api->params);
    if (param == NULL) {
        return NGX_ERROR;
    }

    eq = ngx_strlchr(p, last, '=');

    param->assigned = (eq != NULL);
    param->dropped = 0;
    param->ops = 0;
    ngx_str_null(&param->value);

    /* no client escapes a name, and logs are searched for them */

    param->name.data = p;
    param->name.len = (eq ? eq : last) - p;

    if (ngx_strlchr(p, p + param->name.len, '%')) {
        return ngx_gcs_api_refuse(api, 400, "invalid_query",
                                  "an escape in the name of a parameter");
    }

    if (eq) {
        rc = ngx_gcs_api_decode(api, eq + 1, last - eq - 1, 1, &param->value);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    for (known = ngx_gcs_api_known; known->name.len; known++) {

        if (known->name.len == param->name.len
            && ngx_memcmp(known->name.data, param->name.data,
                          param->name.len)
               == 0)
        {
            param->ops = known->ops;
            break;
        }
    }

    if (param->ops == NGX_GCS_API_PERMISSIONS) {
        return NGX_OK;
    }

    /* of two it is not known which one Google would take */

    other = api->params.elts;

    for (i = 0; i < api->params.nelts - 1; i++) {

        if (other[i].name.len == param->name.len
            && ngx_memcmp(other[i].name.data, param->name.data,
                          param->name.len)
               == 0)
        {
            return ngx_gcs_api_refuse(api, 400, "invalid_query",
                                      "a parameter twice in the query");
        }
    }

    return ngx_gcs_api_query_value(api, param);
}


static ngx_int_t
ngx_gcs_api_query_forbidden(ngx_gcs_api_t *api, ngx_str_t *name)
{
    size_t                    len;
    ngx_gcs_api_forbidden_t  *forbidden;

    for (forbidden = ngx_gcs_api_forbidden; forbidden->name.len; forbidden++) {

        len = forbidden->name.len;

        if ((name->len == len
             || (name->len > len && forbidden->name.data[len - 1] == '-'))
            && ngx_strncasecmp(forbidden->name.data, name->data, len) == 0)
        {
            return ngx_gcs_api_refuse(api, 403, forbidden->error,
                                      forbidden->text);
        }
    }

    return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                              "a parameter in the query that \"gcs_api\" does "
                              "not know");
}


static ngx_int_t
ngx_gcs_api_query_value(ngx_gcs_api_t *api, ngx_gcs_api_param_t *param)
{
    u_char      ch;
    size_t      i;
    ngx_str_t  *value;

    value = &param->value;

    if (ngx_gcs_api_query_is(&param->name, "userProject")) {

        if (value->len != api->project.len
            || (value->len
                && ngx_memcmp(value->data, api->project.data, value->len)
                   != 0))
        {
            return ngx_gcs_api_refuse(api, 403, "api_user_project",
                       "the project that is billed is not the one of "
                       "\"gcs_user_project\"");
        }

    } else if (ngx_gcs_api_query_is(&param->name, "alt")) {

        if (!ngx_gcs_api_query_is(value, "json")
            && !ngx_gcs_api_query_is(value, "media"))
        {
            return ngx_gcs_api_refuse(api, 400, "invalid_query",
                       "a form of the answer other than \"json\" and "
                       "\"media\"");
        }

    } else if (ngx_gcs_api_query_is(&param->name, "upload_id")
               || ngx_gcs_api_query_is(&param->name, "uploadId"))
    {
        for (i = 0; i < value->len; i++) {
            ch = value->data[i];

            if (ch <= 0x20 || ch >= 0x7f) {
                break;
            }
        }

        if (value->len == 0 || i < value->len) {
            return ngx_gcs_api_refuse(api, 400, "invalid_query",
                                      "not the key of an upload");
        }

    } else if (ngx_gcs_api_query_is(&param->name, "uploads")) {

        if (value->len) {
            return ngx_gcs_api_refuse(api, 400, "invalid_query",
                                      "\"uploads\" has no value");
        }
    }

    return NGX_OK;
}


/*
 * What is not sent: an API key, which gsutil adds to everything when it has no
 * credential, and what Node leaves in the query when it deletes what it has
 * listed.  Who is billed is said in a header, and who may do what with a
 * bucket, which Go asks for, is nobody's business here.
 */

ngx_int_t
ngx_gcs_api_query_check(ngx_gcs_api_t *api)
{
    ngx_str_t            *alt;
    ngx_uint_t            i, ops;
    ngx_gcs_api_param_t  *param;

    param = api->params.elts;
    ops = api->op;

    if (ops == NGX_GCS_API_SESSION) {

        /* its address has what it was begun with */

        ops |= NGX_GCS_API_UPLOAD;
    }

    for (i = 0; i < api->params.nelts; i++) {

        if (ngx_gcs_api_query_is(&param[i].name, "key")
            || ngx_gcs_api_query_is(&param[i].name, "userProject")
            || ngx_gcs_api_query_is(&param[i].name, "name")
            || (api->op == NGX_GCS_API_BUCKET
                && ngx_gcs_api_query_is(&param[i].name, "projection"))
            || (api->op == NGX_GCS_API_DELETE
                && (param[i].ops & (NGX_GCS_API_LIST|NGX_GCS_API_DELETE))
                && (ngx_gcs_api_query_is(&param[i].name, "force")
                    || !(param[i].ops & NGX_GCS_API_DELETE)))
            || (api->downloads && ngx_gcs_api_query_is(&param[i].name, "alt")))
        {
            param[i].dropped = 1;
        }

        if (param[i].ops == 0) {
            return ngx_gcs_api_query_forbidden(api, &param[i].name);
        }

        if (!(param[i].ops & ops)
            && !(param[i].dropped && api->op == NGX_GCS_API_DELETE
                 && (param[i].ops & NGX_GCS_API_LIST)))
        {
            return ngx_gcs_api_refuse(api, 403, "api_not_supported",
                       "a parameter in the query that is not known of this "
                       "kind of request");
        }
    }

    alt = ngx_gcs_api_param(api, "alt");

    if (alt && ngx_gcs_api_query_is(alt, "media") && !api->media) {
        return ngx_gcs_api_refuse(api, 400, "invalid_query",
                                  "only an object has the form \"media\"");
    }

    return NGX_OK;
}


ngx_str_t *
ngx_gcs_api_param(ngx_gcs_api_t *api, char *name)
{
    ngx_uint_t            i;
    ngx_gcs_api_param_t  *param;

    param = api->params.elts;

    for (i = 0; i < api->params.nelts; i++) {

        if (ngx_gcs_api_query_is(&param[i].name, name)) {
            return &param[i].value;
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_gcs_api_query_is(ngx_str_t *name, char *text)
{
    return name->len == ngx_strlen(text)
           && ngx_memcmp(name->data, text, name->len) == 0;
}


ngx_int_t
ngx_gcs_api_decode(ngx_gcs_api_t *api, u_char *data, size_t len,
    ngx_uint_t plus, ngx_str_t *value)
{
    u_char  *p;
    size_t   i;

    for (i = 0; i < len; i++) {

        if (data[i] == '%' && !ngx_gcs_unescape_at(data + i, data + len)) {
            return ngx_gcs_api_refuse(api, 400, "invalid_path",
                                      "malformed escape in the address");
        }
    }

    p = ngx_pnalloc(api->pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;
    value->len = ngx_gcs_unescape(p, data, len, plus) - p;

    return NGX_OK;
}
