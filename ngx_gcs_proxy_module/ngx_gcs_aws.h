
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_AWS_H_INCLUDED_
#define _NGX_GCS_AWS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* the longest URL, and the longest of the other values, bytes */
#define NGX_GCS_AWS_URL_MAX       2048
#define NGX_GCS_AWS_WORD_MAX      16384

/* the session of an assumed role when the environment names none */
#define NGX_GCS_AWS_SESSION_NAME  "ngx-gcs-proxy"


typedef struct {
    ngx_str_t  access_key_id;
    ngx_str_t  secret_access_key;
    ngx_str_t  session_token;        /* empty for the keys of a user */
} ngx_gcs_aws_keys_t;


/* a URL as it is sent and as it is signed */

typedef struct {
    ngx_str_t  text;                 /* with the region in it */
    ngx_str_t  host;                 /* in lower case, no default port */
    ngx_str_t  service;
    ngx_str_t  path;                 /* canonical, as the query */
    ngx_str_t  query;
} ngx_gcs_aws_url_t;


/*
 * Makes the subject token of an AWS credential: the percent-encoded JSON
 * description of a signed GetCallerIdentity request, which Google's STS will
 * send.  url is an https URL with "{region}" in it, signed as AWS's clients
 * do.  token is allocated from pool; it is a secret.  Returns NGX_DECLINED
 * for a value that has no place in a header, a URL or JSON.
 */
ngx_int_t ngx_gcs_aws_subject_token(ngx_pool_t *pool, ngx_gcs_aws_keys_t *keys,
    ngx_str_t *region, ngx_str_t *url, ngx_str_t *audience, time_t now,
    ngx_str_t *token);

/*
 * The region of an availability, local or Wavelength zone: "us-west-2" for
 * "us-west-2b" and "us-west-2-lax-1a".  A region is its own region.  The
 * result lies in zone.  Returns NGX_DECLINED for what is no zone.
 */
ngx_int_t ngx_gcs_aws_region(ngx_str_t *zone, ngx_str_t *region);

/*
 * The rule of AWS's clients for AWS_CONTAINER_CREDENTIALS_FULL_URI: https, or
 * http to this machine or to the agents of ECS and EKS.
 */
ngx_uint_t ngx_gcs_aws_container_url_allowed(ngx_str_t *url);

/*
 * The functions below return NGX_DECLINED and a constant text in *err, that
 * quotes nothing, for an answer without usable keys; what they return is
 * allocated from pool, and wiped with it.
 */

/* the answer of the instance metadata service or of a container's agent */
ngx_int_t ngx_gcs_aws_parse_keys(ngx_pool_t *pool, ngx_str_t *json,
    ngx_gcs_aws_keys_t *keys, char **err);

/* the answer of AssumeRoleWithWebIdentity, with keys or with an error */
ngx_int_t ngx_gcs_aws_parse_assumed(ngx_pool_t *pool, ngx_str_t *xml,
    ngx_gcs_aws_keys_t *keys, char **err);

/*
 * Makes the form of AssumeRoleWithWebIdentity; session_name may be empty.
 * White space around the token is not of it.  Returns NGX_DECLINED for a
 * value that AWS would refuse.
 */
ngx_int_t ngx_gcs_aws_assume_role(ngx_pool_t *pool, ngx_str_t *role_arn,
    ngx_str_t *session_name, ngx_str_t *web_identity_token, ngx_str_t *body);

/*
 * Puts region for each "{region}" into template, an https URL, and takes the
 * result apart; all of url is allocated from pool.  Returns NGX_DECLINED for
 * a URL that two parsers might understand differently.
 */
ngx_int_t ngx_gcs_aws_url(ngx_pool_t *pool, ngx_str_t *template,
    ngx_str_t *region, ngx_gcs_aws_url_t *url);

/*
 * True for visible characters of ASCII that need no quoting, at least one: a
 * value that may stand in a header, a URL and JSON as it is.
 */
ngx_uint_t ngx_gcs_aws_word(ngx_str_t *text);

/*
 * NGX_OK if keys, of the environment say, can be signed with: an identifier
 * and a secret, and no character in them that no key has.
 */
ngx_int_t ngx_gcs_aws_check_keys(ngx_gcs_aws_keys_t *keys);

/* copies all of src, to be wiped with pool */
ngx_int_t ngx_gcs_aws_copy_keys(ngx_pool_t *pool, ngx_gcs_aws_keys_t *src,
    ngx_gcs_aws_keys_t *dst);

/* makes text begin and end with something else than white space */
void ngx_gcs_aws_trim(ngx_str_t *text);


#endif /* _NGX_GCS_AWS_H_INCLUDED_ */
