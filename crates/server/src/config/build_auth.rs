//! Who may do what: providers, enforced schemes, the digest scheme.

use auth::{AuthConfig, DigestAlg, Secret};

use super::Note;
use super::error::ConfigError;
use super::resolve::Settings;

/// Where Apache's own providers live.
const PACKAGE: &str = "org.apache.zookeeper.server.auth.";

pub(super) fn auth(settings: &mut Settings) -> Result<AuthConfig, ConfigError> {
    let alg = settings.text("DigestAuthenticationProvider.digestAlg")?.unwrap_or_default();
    let mut config = AuthConfig {
        skip_acl: settings.bool("skipACL")?,
        super_digest: settings.text("DigestAuthenticationProvider.superDigest")?.map(Secret::new),
        digest_alg: DigestAlg::from_java_name(&alg)
            .ok_or(ConfigError::NoSuchKey("DigestAuthenticationProvider.digestAlg"))?,
        digest_enabled: settings.bool("DigestAuthenticationProvider.enabled")?,
        ensemble: None,
        key_enabled: false,
        enforced_schemes: Vec::new(),
    };
    providers(settings, &mut config)?;
    enforced(settings, &mut config)?;
    if config.skip_acl {
        settings.notes.push(Note::warning("skipACL=yes: ACLs are not checked, everyone may do everything".to_owned()));
    }
    Ok(config)
}

fn providers(settings: &mut Settings, config: &mut AuthConfig) -> Result<(), ConfigError> {
    let names = settings.text("ensembleAuthName")?;
    for provider in settings.members("authProvider.") {
        match provider.text.strip_prefix(PACKAGE) {
            // As in Apache, naming it brings it back where it was switched off.
            Some("DigestAuthenticationProvider") => config.digest_enabled = true,
            Some("IPAuthenticationProvider") => {}
            Some("EnsembleAuthenticationProvider") => {
                let names = names.as_deref().unwrap_or_default();
                config.ensemble = Some(
                    java_split(names).iter().map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect(),
                );
            }
            Some("KeyAuthenticationProvider") => config.key_enabled = true,
            Some("SASLAuthenticationProvider") => {
                return Err(provider.not_supported("SASL is not built yet; remove the line"));
            }
            Some("X509AuthenticationProvider") => {
                return Err(provider.not_supported("TLS is not built yet; remove the line"));
            }
            _ => {
                return Err(provider.not_supported(
                    "Java classes can't be loaded here; of Apache's own there are EnsembleAuthenticationProvider, \
                     KeyAuthenticationProvider, DigestAuthenticationProvider and IPAuthenticationProvider",
                ));
            }
        }
    }
    if let (Some(place), None) = (settings.place("ensembleAuthName"), &config.ensemble) {
        let line = format!(
            "{place}: ensembleAuthName has no effect: it counts only with authProvider.1={PACKAGE}\
             EnsembleAuthenticationProvider"
        );
        settings.notes.push(Note::info(line));
    }
    Ok(())
}

/// Source: `AuthenticationHelper.validateConfiguredProperties`.
fn enforced(settings: &mut Settings, config: &mut AuthConfig) -> Result<(), ConfigError> {
    const ENABLED: &str = "enforce.auth.enabled";
    const SCHEMES: &str = "enforce.auth.schemes";
    let list = settings.text(SCHEMES)?.unwrap_or_default();
    if !settings.bool(ENABLED)? {
        if let Some(place) = settings.place(SCHEMES) {
            let line = format!("{place}: {SCHEMES} has no effect: it counts only with {ENABLED}=true");
            settings.notes.push(Note::info(line));
        }
        return Ok(());
    }
    let available = ["ip", "digest", "ensemble", "key"].into_iter().filter(|scheme| config.has_provider(scheme));
    let available = available.collect::<Vec<_>>().join(", ");
    if list.is_empty() {
        let what = format!("{SCHEMES} is not set, so that nobody could pass");
        return Err(settings.bad(ENABLED, what, &format!("true with {SCHEMES}, of {available}")));
    }
    for scheme in java_split(&list) {
        let scheme = scheme.trim();
        if config.has_provider(scheme) {
            config.enforced_schemes.push(scheme.to_owned());
        } else if let ("sasl" | "x509", Some(written)) = (scheme, settings.written(SCHEMES)) {
            let missing = if scheme == "sasl" { "SASL" } else { "TLS" };
            return Err(
                written.not_supported(&format!("{missing} is not built yet, so that no client could pass by it"))
            );
        } else {
            return Err(settings.bad(SCHEMES, format!("there is no authentication scheme {scheme:?}"), &available));
        }
    }
    for (scheme, why) in [
        ("ip", "every client has an address, so that nobody is turned away"),
        ("ensemble", "it gives no identity, so that nobody passes by it"),
    ] {
        if config.enforced_schemes.iter().any(|enforced| enforced == scheme) {
            settings.notes.push(Note::warning(format!("{SCHEMES}: {scheme}: {why}")));
        }
    }
    Ok(())
}

/// `String.split(",")`: empty parts at the end do not count.
fn java_split(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(',').collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}
