package dev.harmguard.demo

import androidx.compose.foundation.isSystemInDarkTheme
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.darkColorScheme
import androidx.compose.material3.lightColorScheme
import androidx.compose.runtime.Composable
import androidx.compose.ui.graphics.Color

private val light =
    lightColorScheme(
        primary = Color(0xFF0B6B5B),
        onPrimary = Color.White,
        primaryContainer = Color(0xFFA2F2DD),
        onPrimaryContainer = Color(0xFF00201A),
        secondaryContainer = Color(0xFFCCE8DF),
        surface = Color(0xFFF7FBF8),
        background = Color(0xFFF7FBF8),
        surfaceContainer = Color(0xFFEAF1ED),
        surfaceContainerHighest = Color(0xFFE7F0EC),
        surfaceVariant = Color(0xFFDAE5DF),
    )

private val dark =
    darkColorScheme(
        primary = Color(0xFF86D6C2),
        onPrimary = Color(0xFF00382E),
        primaryContainer = Color(0xFF005143),
        onPrimaryContainer = Color(0xFFA2F2DD),
        secondaryContainer = Color(0xFF334B44),
        surface = Color(0xFF0F1513),
        background = Color(0xFF0F1513),
        surfaceContainer = Color(0xFF1B211F),
        surfaceContainerHighest = Color(0xFF1F2724),
        surfaceVariant = Color(0xFF3F4945),
    )

/** Light or dark, as the system is. */
@Composable
fun GuardTheme(content: @Composable () -> Unit) {
    MaterialTheme(if (isSystemInDarkTheme()) dark else light, content = content)
}
